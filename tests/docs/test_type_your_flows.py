"""What docs/how-to/type-your-flows.md shows runs as it stands, and type checkers see what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgflow.testing import run_inline

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "type-your-flows.md").read_text()
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WRONG = 'def wrong(client: Client, order: Order) -> None:\n    client.start(orders, "12")\n'
WRONG += '    pgflow.execute(orders, order)["total"]\n'


def test_its_flow_gives_what_its_type_says() -> None:
    page: dict[str, Any] = {}
    exec(CODE, page)  # noqa: S102  # our own page
    assert run_inline(page["orders"], page["Order"](lines=[5, 7])).output == {"invoice": "12 EUR"}
    assert list(page["Invoiced"].__annotations__) == ["invoice"]


@pytest.mark.slow
def test_type_checkers_refuse_what_it_says_they_do(tmp_path: Path) -> None:
    assert all(call in PAGE for call in ('client.start(orders, "12")', 'execute(orders, order)["total"]'))
    (tmp_path / "app.py").write_text(f"{CODE}\n\n{WRONG}")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", "app.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = len(CODE.splitlines()) + len(WRONG.splitlines()) + 2
    assert re.findall(r"app\.py:(\d+): error", done.stdout) == [str(last - 1), str(last)], done.stdout
