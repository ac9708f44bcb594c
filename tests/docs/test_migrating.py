"""What the guides for those who come from elsewhere show in Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pgflow.testing import run_inline
from tests.foreign import npm

#: What the npm packages export and users call: not what is exported only to themselves, nor mere types.
CALLABLE = [
    "dsl/dist/dsl.d.ts",
    "dsl/dist/compile-flow.d.ts",
    "dsl/dist/platforms/supabase.d.ts",
    "core/dist/PgflowSqlClient.d.ts",
    *(f"client/dist/client/src/{name}.d.ts" for name in ("browser", "lib/PgflowClient", "lib/FlowRun", "lib/FlowStep")),
    "client/dist/client/src/lib/types.d.ts",
]
#: Interfaces of which a flow's author writes or reads the members.
INTERFACES = {"RuntimeOptions", "StepRuntimeOptions", "BaseContext", "FlowContext", "SupabaseResources"}
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


def calls_of(declarations: str) -> set[str]:
    """The functions, classes and enums that a .d.ts file exports, and the members of these and of INTERFACES."""
    found = set()
    for kind, name, body in re.findall(
        r"^export (?:declare )?(class|enum|function|interface) (\w+)(.*?)(?=^export |\Z)",
        declarations,
        re.DOTALL | re.MULTILINE,
    ):
        if kind == "interface" and name not in INTERFACES:
            continue
        members = re.findall(r"^    (?:get |readonly )?(\w+)(?:\?? ?[:(<]| = )", body, re.MULTILINE)
        found |= {*members, *([name] if kind != "interface" else [])} - {"constructor"}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", CALLABLE)
def test_every_call_of_typescript_stands_beside_ours(path: str) -> None:
    calls = calls_of((npm.modules() / "@pgflow" / path).read_text())
    assert calls
    page = (HOW_TO / "migrating-from-pgflow-typescript.md").read_text()
    left = "\n".join(re.findall(r"^\| (.*?) \| ", page, re.MULTILINE))
    assert {call for call in calls if not re.search(rf"\b{call}\b", left)} == set()
