"""Cancelling, retrying, rerunning, pausing."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgflow import Flow, Run, Worker
from pgflow.errors import FlowNotFound, InvalidInputError, RunNotFound, RunStateError
from tests.client.conftest import Ask
from tests.support import rows, value


class Faults:
    """Handlers that fail as long as they are told to."""

    def __init__(self) -> None:
        self.failing = True
        self.calls: list[str] = []
        self.flow: Flow[Any, Any] = Flow("chain", max_attempts=1)
        self.flow.step(slug="first")(self.first)
        self.flow.step(slug="second")(self.second)

    def first(self, flow_input: Any) -> Any:
        self.calls.append("first")
        return flow_input

    def second(self, first: Any) -> Any:
        self.calls.append("second")
        if self.failing:
            raise ValueError("not yet")
        return {"second": first}


@pytest.fixture
def chain() -> Faults:
    return Faults()


async def run_to_its_end(ask: Ask, dsn: str, chain: Faults, run: Run) -> Run:
    async with Worker([chain.flow], dsn=dsn):
        return await ask("wait", run, timeout=30)


async def test_a_cancelled_run_is_shown_as_cancelled(ask: Ask, chain: Faults) -> None:
    run = await ask("start", chain.flow, 1)
    cancelled = await ask("cancel", run, reason="wrong list")
    assert (cancelled.run_id, cancelled.status, cancelled.error) == (run.run_id, "cancelled", "Cancelled: wrong list")
    assert cancelled.ended
    assert cancelled.failed_at is not None
    assert (await ask("get_run", run)).status == "cancelled"
    assert (await ask("wait", run, timeout=10)).status == "cancelled"
    assert [r.run_id for r in await ask("list_runs", status="cancelled")] == [run.run_id]
    assert await ask("cancel", str(run.run_id), reason="again") == cancelled


async def test_a_reason_that_is_no_text_cancels_nothing(ask: Ask, chain: Faults) -> None:
    run = await ask("start", chain.flow, 1)
    with pytest.raises(InvalidInputError, match="reason must be a text, not 3"):
        await ask("cancel", run, reason=3)
    assert (await ask("get_run", run)).status == "started"


async def test_a_wait_ends_when_its_run_is_cancelled(ask: Ask, chain: Faults) -> None:
    run = await ask("start", chain.flow, 1)
    waiting = asyncio.create_task(ask("wait", run, timeout=30))
    await ask("cancel", run)
    assert (await waiting).error == "Cancelled"


async def test_a_failed_run_goes_on_from_what_failed_it(ask: Ask, dsn: str, chain: Faults) -> None:
    run = await run_to_its_end(ask, dsn, chain, await ask("start", chain.flow, "x"))
    assert (run.status, run.error) == ("failed", "ValueError: not yet")
    chain.failing = False
    again = await ask("retry", run)
    assert (again.run_id, again.status, again.error, again.failed_at) == (run.run_id, "started", None, None)
    assert (await ask("retry", run.run_id)) == again
    done = await run_to_its_end(ask, dsn, chain, run)
    assert (done.status, done.output) == ("completed", {"second": {"second": "x"}})
    assert chain.calls == ["first", "second", "second"]


async def test_a_cancelled_run_goes_on(ask: Ask, dsn: str, chain: Faults) -> None:
    chain.failing = False
    run = await ask("cancel", await ask("start", chain.flow, 1))
    assert (await ask("retry", run)).status == "started"
    assert (await run_to_its_end(ask, dsn, chain, run)).status == "completed"


async def test_a_rerun_takes_over_what_came_before(ask: Ask, dsn: str, chain: Faults) -> None:
    chain.failing = False
    run = await run_to_its_end(ask, dsn, chain, await ask("start", chain.flow, "x"))
    again = await ask("rerun", run, "second")
    assert again.run_id != run.run_id
    assert (again.status, again.input, again.parent_run_id, again.remaining_steps) == ("started", "x", run.run_id, 1)
    assert run.parent_run_id is None
    done = await run_to_its_end(ask, dsn, chain, again)
    assert done.output == run.output
    assert done.steps["first"].output == "x"
    assert chain.calls == ["first", "second", "second"]


async def test_a_rerun_takes_the_step_itself(ask: Ask, chain: Faults) -> None:
    run = await ask("start", chain.flow, "x")
    assert (await ask("rerun", run, chain.flow.steps["first"])).parent_run_id == run.run_id


@pytest.mark.parametrize("given", [{"n": 2}, None, [1, "ü"]])
async def test_a_rerun_may_be_given_another_input(ask: Ask, chain: Faults, given: Any) -> None:
    run = await ask("start", chain.flow, "x")
    assert (await ask("rerun", run, "first", input=given)).input == given


async def test_a_bad_rerun_is_refused_and_starts_nothing(ask: Ask, conn: psycopg.Connection, chain: Faults) -> None:
    run = await ask("start", chain.flow, "x")
    with pytest.raises(InvalidInputError, match=r'Flow chain has no step "third": it has first, second$'):
        await ask("rerun", run, "third")
    with pytest.raises(InvalidInputError, match="set is no JSON"):
        await ask("rerun", run, "first", input={1, 2})
    with pytest.raises(InvalidInputError, match="expected a step of the flow, or its slug, not 5"):
        await ask("rerun", run, 5)
    assert value(conn, "select count(*) from pgflow.runs") == 1


async def test_what_a_run_does_not_allow_is_refused(ask: Ask, dsn: str, chain: Faults) -> None:
    chain.failing = False
    run = await run_to_its_end(ask, dsn, chain, await ask("start", chain.flow, 1))
    for method in ("cancel", "retry"):
        with pytest.raises(RunStateError, match=f"Run {run.run_id} has completed and cannot be "):
            await ask(method, run)


@pytest.mark.parametrize(("method", "more"), [("cancel", ()), ("retry", ()), ("rerun", ("first",))])
async def test_a_run_that_is_not_there_is_said_so(ask: Ask, method: str, more: tuple[str, ...]) -> None:
    run_id = uuid4()
    with pytest.raises(RunNotFound, match=str(run_id)) as caught:
        await ask(method, run_id, *more)
    assert caught.value.run_id == run_id
    with pytest.raises(InvalidInputError, match="no run id"):
        await ask(method, "nonsense", *more)


async def test_a_paused_flow_waits_until_it_is_resumed(
    ask: Ask, dsn: str, conn: psycopg.Connection, chain: Faults
) -> None:
    chain.failing = False
    await ask("compile", chain.flow)
    await ask("pause", chain.flow)
    await ask("pause", "chain")
    async with Worker([chain.flow], dsn=dsn, poll_interval=1000):
        run = await ask("start", chain.flow, 1)
        waiting = asyncio.create_task(ask("wait", run, timeout=30))
        assert rows(conn, "select distinct status from pgflow.step_tasks") == [("queued",)]
        await ask("resume", "chain")
        assert (await waiting).status == "completed"
    await ask("resume", chain.flow)


@pytest.mark.parametrize("method", ["pause", "resume"])
async def test_a_flow_that_is_not_there_is_said_so(ask: Ask, chain: Faults, method: str) -> None:
    with pytest.raises(FlowNotFound, match="'chain' is not in the database"):
        await ask(method, chain.flow)
