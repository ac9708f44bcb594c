"""The npm client drives runs, on pgflow's own core and on ours: it must not notice which."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgflow import Flow, Worker
from tests.foreign import npm
from tests.foreign.cores import REALTIME

pytestmark = pytest.mark.slow


def a_flow() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("greetings", max_attempts=1)

    @flow.step
    def names(flow_input: dict[str, Any]) -> list[str]:
        return list(flow_input["names"])

    @flow.map(over=names)
    def greet(name: str) -> str:
        return f"hello {name}"

    @flow.step
    def send(greet: list[str]) -> dict[str, Any]:
        if not greet:
            raise ValueError("nobody to greet")
        return {"sent": greet, "nothing": None}

    return flow


async def drive(dsn: str, core: Any, input: Any, status: str) -> Any:
    async with Worker([a_flow()], dsn=dsn, core=core, grace=1, concurrency=1):
        with npm.running("client.mjs", dsn, "greetings", input, status) as node:
            return await asyncio.to_thread(npm.answer, node)


def untimed(events: list[dict[str, Any]]) -> list[str]:
    assert [event for event in events if not event["accepted"]] == []
    return [event["event"] for event in events]


async def test_a_run_that_completes(core_dsn: str, core: str) -> None:
    found = await drive(core_dsn, core, {"names": ["Ada", "Bo"]}, "completed")
    assert found["flow"].items() >= {"flow_slug": "greetings", "opt_max_attempts": 1, "opt_timeout": 60}.items()
    assert found["atStart"] == {
        "status": "started",
        "input": {"names": ["Ada", "Bo"]},
        "output": None,
        "error": None,
        "remaining": 3,
        "ended": [False, False],
        "steps": {
            "names": ["started", None, None],
            "greet": ["created", None, None],
            "send": ["created", None, None],
        },
    }
    assert found["atEnd"]["steps"] == {
        "names": ["completed", ["Ada", "Bo"], None],
        "greet": ["completed", ["hello Ada", "hello Bo"], None],
        "send": ["completed", {"sent": ["hello Ada", "hello Bo"], "nothing": None}, None],
    }
    output = {"send": {"sent": ["hello Ada", "hello Bo"], "nothing": None}}
    for told in found["atEnd"], found["later"]:
        assert (told["status"], told["output"], told["remaining"]) == ("completed", output, 0)
        assert told["ended"] == [True, False]
    assert {slug: step[0] for slug, step in found["later"]["steps"].items()} == dict.fromkeys(
        ["names", "greet", "send"], "completed"
    )
    assert untimed(found["events"]) == [
        "run:started", "step:started names", "step:completed names", "step:started greet", "step:completed greet",
        "step:started send", "step:completed send", "run:completed",
    ]  # fmt: skip


async def test_a_run_that_fails(core_dsn: str, core: str) -> None:
    found = await drive(core_dsn, core, {"names": []}, "failed")
    error = "ValueError: nobody to greet"
    assert (found["atEnd"]["status"], found["atEnd"]["error"]) == ("failed", error)
    assert found["atEnd"]["steps"] == {
        "names": ["completed", [], None],
        "greet": ["completed", [], None],
        "send": ["failed", None, error],
    }
    assert (found["later"]["status"], found["later"]["ended"]) == ("failed", [False, True])
    assert found["later"]["steps"]["send"] == ["failed", None, error]
    events = untimed(found["events"])
    assert events[:5] == [
        "run:started", "step:started names", "step:completed names", "step:completed greet", "step:started send",
    ]  # fmt: skip
    assert events[5:] == ["step:failed send", "run:failed"]
    assert found["unknown"] is None
    if core == "own":  # a bare foreign-key error there: sql-core.md, section 12
        assert found["refused"] == "Flow not found: no_such_flow"
    else:
        assert "runs_flow_slug_fkey" in found["refused"]


async def test_both_cores_send_the_same_events(pgflow_dsn: str, dsn: str) -> None:
    """Key by key and value by value, but for the run's id and the times."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(REALTIME)
    theirs = await drive(pgflow_dsn, "foreign", {"names": ["Ada"]}, "completed")
    ours = await drive(dsn, "own", {"names": ["Ada"]}, "completed")
    assert ours["events"] == theirs["events"]
