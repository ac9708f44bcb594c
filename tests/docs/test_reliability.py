"""docs/explanation/reliability.md: its handler may run twice and charges once; its table is of a run that passed."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pgflow.testing import run_inline

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md").read_text()


class Payments:
    """A service that knows requests again by their key, and whose first answer gets lost."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}
        self.requests = 0

    def charge(self, cents: int, *, idempotency_key: str) -> str:
        self.requests += 1
        self.charged.setdefault(idempotency_key, cents)
        if self.requests == 1:
            raise ConnectionResetError
        return "charged"


def test_its_handler_charges_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = types.ModuleType("shop_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    payments = Payments()
    names: dict[str, Any] = module.__dict__ | {"payments": payments}
    exec(code, names)  # noqa: S102  # our own page
    run = run_inline(names["shop"], {"cents": 100})
    assert run.result == {"charge": "charged"}
    assert payments.requests == 2
    assert list(payments.charged.values()) == [100]


def test_its_table_has_every_kind_of_fault_and_says_by_which_command_it_was_made() -> None:
    table = PAGE.partition("<!-- chaos: written by `make chaos` -->")[2].partition("<!-- /chaos -->")[0]
    assert "make chaos" in table
    for kind in ("killed", "frozen", "immediate", "backends", "disk", "reset", "dropped", "clock", "migrate"):
        assert re.search(rf"\| [^|]*{kind}[^|]*\| [1-9]", table), kind
