"""Random histories of random flows: the database and the in-memory model must agree after every operation.

PGFLOW_HISTORIES sets how many (default 300, always the same ones; with another number they differ from run to run).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from tests.testing.history import play
from tests.testing.real import Real

_HISTORIES = int(os.environ.get("PGFLOW_HISTORIES", "0"))


@pytest.mark.timeout(600 + _HISTORIES)  # shrinking a failure takes minutes
def test_model_and_database_agree(
    real: Real, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    exercised: Counter[str] = Counter()
    play(real, _HISTORIES or 300, exercised, fixed=not _HISTORIES)
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:7} {what}" for what, count in sorted(exercised.items())))
    for what, count in exercised.items():
        record_property(what, count)
