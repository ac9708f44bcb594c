"""What the guides for those who come from elsewhere show in Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pgflow.testing import run_inline

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def run_page(name: str) -> dict[str, Any]:
    """What a page's Python defines."""
    found: dict[str, Any] = {"__name__": name}
    (code,) = re.findall(r"```python\n(.*?)```", (HOW_TO / f"{name}.md").read_text(), re.DOTALL)
    exec(compile(code, f"{name}.md", "exec"), found)  # noqa: S102
    return found


@pytest.mark.parametrize(("customer", "cents"), [("ann", 180), ("internal", 200)])
def test_the_flow_from_typescript_prices_an_order(customer: str, cents: int) -> None:
    flow = run_page("migrating-from-pgflow-typescript")["orders"]
    run = run_inline(flow, {"customer": customer, "items": [{"cents": 100, "count": 2}]})
    assert run.output == {"total": cents}


def test_the_flow_from_elixir_greets(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    run_page("migrating-from-ex-pgflow")
    printed = capsys.readouterr().out
    assert printed == "{'greet': ['Hello, Ada!', 'Hello, Bob!']}\n"
    assert f"prints `{printed.strip()}`" in (HOW_TO / "migrating-from-ex-pgflow.md").read_text()
