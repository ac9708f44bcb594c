"""What the profiler makes of a server's log."""

from __future__ import annotations

from pathlib import Path

import pytest

LOG = """\
2026-11-25 23:10:01.001 UTC [7] LOG:  duration: 2.500 ms  plan:
\tQuery Text: select 1
\t  from a
\tSeq Scan on a  (cost=0.00..1.00 rows=1 width=4) (actual rows=1 loops=1)
\t  Buffers: shared hit=1
2026-11-25 23:10:01.002 UTC [7] CONTEXT:  PL/pgSQL function f() line 3
2026-11-25 23:10:02.001 UTC [7] LOG:  duration: 9.000 ms  plan:
\tQuery Text: select 2
\tResult  (cost=0.00..0.01 rows=1 width=4) (actual rows=1 loops=1)
2026-11-25 23:10:03.001 UTC [7] LOG:  duration: 7.500 ms  plan:
\tQuery Text: select 1
\t  from a
\tIndex Scan on a  (cost=0.00..1.00 rows=1 width=4) (actual rows=9 loops=1)
2026-11-25 23:10:04.001 UTC [8] LOG:  checkpoint starting: time
"""


def test_plans_are_shown_by_statement_with_the_slowest_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from profiler import _plans

    first, second, rest = _plans(LOG).split("-" * 100 + "\n")
    assert first.startswith("10.0 ms in 2 executions; the slowest, 7.5 ms:")
    assert "Index Scan on a" in first
    assert "Seq Scan" not in first
    assert second.startswith("9.0 ms in 1 executions; the slowest, 9.0 ms:")
    assert rest == ""
