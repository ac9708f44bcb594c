"""A worker on a core that is not ours: pgflow's 0.8.1 from npm, and one with the functions of 0.14."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import psycopg
import pytest

from pgflow import Context, Flow, Permanent, RetryAfter, Worker
from pgflow.calls import Call
from pgflow.errors import DatabaseUnreachable
from tests.foreign.support import ended, start, work
from tests.support import aeventually, value
from tests.worker.support import kill_backends, one_task_flow, tasks

DUE = "select extract(epoch from vt - clock_timestamp())::float from pgmq.q_solo"


async def test_inputs_are_those_of_our_own_core(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    flow: Flow[Any, Any] = Flow("inputs")
    flow.step(slug="root")(lambda deps, flow_input: [deps, flow_input])
    flow.map(over="root", slug="each")(lambda element, flow_input: [element, flow_input])
    flow.step(slug="last", depends_on=["root"])(lambda each, deps, flow_input: [len(each), sorted(deps), flow_input])
    run = await work(foreign_dsn, foreign, flow, {"run": 1, "n": None})
    given = {"run": 1, "n": None}
    assert run.output == {"last": [2, ["each", "root"], given]}
    assert [task["output"] for task in tasks(foreign, "each")] == [[{}, given], [given, given]]


async def test_a_map_is_worked_on_by_several_and_never_by_more_than_concurrency(
    foreign_dsn: str, foreign: psycopg.Connection
) -> None:
    flow: Flow[Any, Any] = Flow("wide")
    at_once: list[int] = []
    running = 0

    @flow.map
    async def each(n: int) -> int:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.02)
        running -= 1
        return n

    run = await work(foreign_dsn, foreign, flow, list(range(60)), concurrency=7)
    assert run.output == {"each": list(range(60))}
    assert 1 < max(at_once) <= 7
    assert value(foreign, "select count(*) from pgmq.q_wide") == 0


async def test_several_flows_share_a_worker(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    flows = []
    for n in range(12):  # more than one poll asks for
        flow: Flow[Any, Any] = Flow(f"flow_{n}")
        flow.map(slug="each")(lambda element: element)
        flows.append(flow)
    async with Worker(flows, dsn=foreign_dsn, core="foreign", concurrency=3):
        run_ids = [start(foreign, flow, [n] * n) for n, flow in enumerate(flows)]
        for n, run_id in enumerate(run_ids):
            assert (await ended(foreign, run_id)).output == {"each": [n] * n}


async def test_a_failed_task_is_tried_again_by_the_cores_rules(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    seen: list[tuple[int, int]] = []

    def fails(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.max_attempts))
        raise OSError("no")

    flow = one_task_flow(fails, max_attempts=3)
    assert (await work(foreign_dsn, foreign, flow)).status == "failed"
    assert seen == [(1, 3), (2, 3), (3, 3)]
    (task,) = tasks(foreign, "only")
    assert (task["status"], task["error_message"], task["attempts_count"]) == ("failed", "OSError: no", 3)


async def test_retry_after_sets_when(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    def later() -> None:
        raise RetryAfter(600, "the quota is used up")

    flow = one_task_flow(later)
    async with Worker([flow], dsn=foreign_dsn, core="foreign"):
        start(foreign, flow)
        await aeventually(lambda: tasks(foreign, "only")[0]["error_message"])
        await aeventually(lambda: 500 < value(foreign, DUE) <= 600)
    assert tasks(foreign, "only")[0]["status"] == "queued"


async def test_a_permanent_failure_uses_up_all_attempts_at_once(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    calls = []

    def hopeless() -> None:
        calls.append(1)
        raise Permanent("no such customer")

    flow: Flow[Any, Any] = Flow("solo", max_attempts=5, base_delay=1000)
    flow.step(slug="only")(hopeless)
    assert (await work(foreign_dsn, foreign, flow)).status == "failed"
    (task,) = tasks(foreign, "only")
    assert (len(calls), task["attempts_count"], task["error_message"]) == (1, 5, "Permanent: no such customer")


async def test_a_timeout_is_enforced(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    async def slow() -> None:
        await asyncio.sleep(600)

    flow = one_task_flow(slow, timeout=1, max_attempts=1)
    assert (await work(foreign_dsn, foreign, flow)).status == "failed"
    (task,) = tasks(foreign, "only")
    assert task["error_message"] == "HandlerTimeout: the handler did not end within its timeout of 1 s"


async def test_an_output_that_postgresql_refuses_fails_its_task_alone(
    foreign_dsn: str, foreign: psycopg.Connection
) -> None:
    foreign.execute("alter table pgflow.step_tasks add constraint sound check (output is distinct from '13')")
    flow: Flow[Any, Any] = Flow("unsound", max_attempts=2, base_delay=0)
    flow.map(slug="each")(lambda element: element)
    assert (await work(foreign_dsn, foreign, flow, [11, 12, 13], concurrency=1)).status == "failed"
    assert [task["status"] for task in tasks(foreign, "each")] == ["completed", "completed", "failed"]
    assert tasks(foreign, "each")[2]["error_message"].startswith("the result cannot be stored: ")


async def test_an_output_that_is_no_array_for_a_map_fails_the_run(
    foreign_dsn: str, foreign: psycopg.Connection
) -> None:
    flow: Flow[Any, Any] = Flow("violation")
    flow.step(slug="made")(lambda: 1)
    flow.map(over="made", slug="each")(lambda element: element)
    assert (await work(foreign_dsn, foreign, flow)).status == "failed"
    assert tasks(foreign, "made")[0]["error_message"] == "[TYPE_VIOLATION] Produced number instead of array"


async def test_a_stopping_worker_hands_back_at_the_cost_of_an_attempt(
    foreign_dsn: str, foreign: psycopg.Connection
) -> None:
    attempts: list[int] = []

    async def patient(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.sleep(600)
        return "done"

    flow: Flow[Any, Any] = Flow("solo", base_delay=1000)  # it must not wait for that
    flow.step(slug="only")(patient)
    async with Worker([flow], dsn=foreign_dsn, core="foreign", grace=0):
        run_id = start(foreign, flow)
        await aeventually(lambda: attempts)
    (task,) = tasks(foreign, "only")
    assert (task["status"], task["attempts_count"]) == ("queued", 1)
    assert task["error_message"] == "released: the worker could not do the task"
    async with Worker([flow], dsn=foreign_dsn, core="foreign"):
        assert (await ended(foreign, run_id)).output == {"only": "done"}
    assert attempts == [1, 2]


async def test_the_last_attempt_is_left_to_requeueing_where_there_is_that(
    foreign_dsn: str, foreign: psycopg.Connection, version: str
) -> None:
    attempts: list[int] = []

    async def patient(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await asyncio.sleep(600)
        return "done"

    flow = one_task_flow(patient, max_attempts=1)
    async with Worker([flow], dsn=foreign_dsn, core="foreign", grace=0):
        run_id = start(foreign, flow)
        await aeventually(lambda: attempts)
    (task,) = tasks(foreign, "only")
    if version == "0.8.1":  # nothing would ever bring it back
        assert task["status"] == "failed"
        assert value(foreign, "select status from pgflow.runs") == "failed"
        return
    assert task["status"] == "started"
    hour = "interval '1 hour'"
    foreign.execute(f"update pgflow.step_tasks set queued_at = queued_at - {hour}, started_at = started_at - {hour}")
    async with Worker([flow], dsn=foreign_dsn, core="foreign"):  # which calls requeue_stalled_tasks itself
        assert (await ended(foreign, run_id)).output == {"only": "done"}


LOSSES = {
    "claimed by another": "update pgflow.step_tasks set last_worker_id = null",
    "claimed again": "update pgflow.step_tasks set attempts_count = attempts_count + 1",
    "put back": "update pgflow.step_tasks set status = 'queued', started_at = null",
    "run failed": "update pgflow.runs set status = 'failed', failed_at = now()",
    "run deleted": "truncate pgflow.runs cascade",
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_handler_is_told_and_cancelled_when_its_task_is_no_longer_its_own(
    foreign_dsn: str, foreign: psycopg.Connection, loss: str
) -> None:
    began = asyncio.Event()
    saw: list[bool] = []

    async def endless(ctx: Context) -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        finally:
            saw.append(ctx.cancelled.is_set())

    flow = one_task_flow(endless)
    async with Worker([flow], dsn=foreign_dsn, core="foreign", lease=1, grace=0):
        start(foreign, flow)
        await began.wait()
        foreign.execute("truncate pgmq.q_solo")  # nobody takes it again
        foreign.execute(LOSSES[loss])
        await aeventually(lambda: saw)
    assert saw == [True]
    assert [t for t in tasks(foreign, "only") if t["status"] in ("completed", "failed")] == []


@pytest.mark.parametrize(("loss", "fails"), [("claimed by another", False), ("claimed again", True)])
async def test_a_late_result_is_not_sent(
    foreign_dsn: str, foreign: psycopg.Connection, loss: str, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    began, enough = asyncio.Event(), asyncio.Event()

    async def late() -> int:
        began.set()
        await enough.wait()
        if fails:
            raise OSError("late")
        return 1

    flow = one_task_flow(late)
    with caplog.at_level(logging.DEBUG, "pgflow.worker"):
        async with Worker([flow], dsn=foreign_dsn, core="foreign", lease=1000) as worker:  # no heartbeat tells it
            start(foreign, flow)
            await began.wait()
            foreign.execute("truncate pgmq.q_solo")
            foreign.execute(LOSSES[loss])
            enough.set()
            await aeventually(lambda: len(worker._held) == 0)
    (task,) = tasks(foreign, "only")
    assert (task["status"], task["error_message"], task["output"]) == ("started", None, None)
    assert any("refused: stale" in record.getMessage() for record in caplog.records)


async def test_the_worker_is_registered_and_beats(foreign_dsn: str, foreign: psycopg.Connection, version: str) -> None:
    beat = "select last_heartbeat_at from pgflow.workers"
    async with Worker([one_task_flow(lambda: 1)], dsn=foreign_dsn, core="foreign", lease=1) as worker:
        first = value(foreign, beat)
        row = foreign.execute("select worker_id, queue_name, function_name from pgflow.workers").fetchone()
        assert row == (worker.worker_id, "solo", f"{os.uname().nodename}:{os.getpid()}")
        await aeventually(lambda: value(foreign, beat) > first)
        foreign.execute("delete from pgflow.workers")  # as prune_data_older_than may
        await aeventually(lambda: value(foreign, "select count(*) from pgflow.workers") == 1)
    if version != "0.8.1":
        assert value(foreign, "select stopped_at is not null from pgflow.workers")


async def test_a_result_outlives_its_connections(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    began, enough = asyncio.Event(), asyncio.Event()

    async def waits() -> int:
        began.set()
        await enough.wait()
        return 1

    flow = one_task_flow(waits, max_attempts=1)
    async with Worker([flow], dsn=foreign_dsn, core="foreign"):
        run_id = start(foreign, flow)
        await began.wait()
        assert kill_backends(foreign) > 0
        enough.set()
        assert (await ended(foreign, run_id)).output == {"only": 1}
        assert kill_backends(foreign) > 0
        assert (await ended(foreign, start(foreign, flow))).output == {"only": 1}


async def test_a_claim_whose_answer_is_lost_is_given_back(
    foreign_dsn: str, foreign: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = one_task_flow(lambda ctx: ctx.attempt)
    async with Worker([flow], dsn=foreign_dsn, core="foreign") as worker:
        run = worker._database.run
        lost: list[str] = []

        async def lose_a_claim(call: Call[Any]) -> Any:
            answer = await run(call)
            if "start_tasks" in call.sql and not lost:
                lost.append(call.sql)
                raise DatabaseUnreachable("the connection is lost")
            return answer

        monkeypatch.setattr(worker._database, "run", lose_a_claim)
        assert (await ended(foreign, start(foreign, flow))).output == {"only": 2}
    assert lost


async def test_a_task_of_a_step_that_the_code_lacks_fails(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    flow = one_task_flow(lambda: 1)
    async with Worker([flow], dsn=foreign_dsn, core="foreign"):
        foreign.execute("select pgflow.add_step('solo', 'added_later')")
        assert (await ended(foreign, start(foreign, flow))).status == "failed"
    assert "has no step 'added_later'" in tasks(foreign, "added_later")[0]["error_message"]


async def test_messages_of_no_task_do_no_harm(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    flow = one_task_flow(lambda: 1)
    async with Worker([flow], dsn=foreign_dsn, core="foreign", concurrency=2):
        foreign.execute("select pgmq.send('solo', '{}') from generate_series(1, 9)")
        assert (await ended(foreign, start(foreign, flow))).output == {"only": 1}
