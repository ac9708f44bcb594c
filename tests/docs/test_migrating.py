"""What the guides for those who come from elsewhere show in Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import pgflow
from pgflow import Client, Context, Flow, Worker
from pgflow.cli import app
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
GUIDES = ["migrating-from-pgflow-typescript", "migrating-from-ex-pgflow"]


def spans(name: str, side: int) -> list[str]:
    """What a page's tables say in code, on the left or on the right, each once."""
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", (HOW_TO / f"{name}.md").read_text(), re.MULTILINE)
    return list(dict.fromkeys(span for row in rows for span in re.findall(r"`([^`]+)`", row[side])))


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
    left = "\n".join(spans("migrating-from-pgflow-typescript", 0))
    assert {call for call in calls if not re.search(rf"\b{call}\b", left)} == set()


def evaluate(guide: str, names: dict[str, Any]) -> int:
    """Evaluates what a guide's right column says of these names, and counts it; `client.close()` comes last."""
    ours = [span for span in spans(guide, 1) if (call := re.match(r"(\w+)[.(]", span)) and call[1] in names]
    for span in sorted(ours, key="client.close()".__eq__):
        eval(span.replace("…", "60"), {}, names)  # noqa: S307
    return len(ours)


def shop_of(slug: str) -> Flow:
    flow = Flow(slug)
    flow.step(slug="load")(lambda flow_input: flow_input)
    return flow


def test_what_stands_beside_typescript_can_be_called(dsn: str) -> None:
    shop = shop_of("shop")
    with Client(dsn) as client:
        run = client.start(shop, {})
        Worker([shop], dsn=dsn).run(drain=True)
        run = client.wait(run, timeout=60)
        with client.events(run) as events:
            event = next(events)
        names = {"client": client, "shop": shop, "flow": shop, "run": run, "step": run.steps["load"], "list": list}
        names |= {"events": events, "event": event, "ctx": Context(open_connection="…"), "input": {}, "run_id": uuid4()}
        assert evaluate("migrating-from-pgflow-typescript", names) > 30


def test_what_stands_beside_elixir_can_be_called(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    with Client(dsn) as client, psycopg.connect(dsn) as connection:
        names = {"pgflow": pgflow, "client": client, "connection": connection, "input": {"n": 1}}
        names |= {"shop": shop_of("shop_of_code"), "fun": lambda input: input}
        assert evaluate("migrating-from-ex-pgflow", names) == 5


@pytest.mark.parametrize("name", GUIDES)
def test_the_commands_and_their_options_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [span.split()[1:] for span in spans(name, 1) if span.startswith("pgflow ")]
    assert commands
    for command, *options in commands:
        assert app.run([command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(option in shown for option in options if option.startswith("--"))
