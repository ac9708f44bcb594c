"""Starting runs and looking at them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgflow import Flow, Worker
from pgflow.errors import DatabaseError, FlowMismatch, FlowNotFound, InvalidInputError, RunNotFound
from tests.client.conftest import Ask
from tests.support import value


def double() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("double")
    flow.step(slug="twice")(lambda flow_input: flow_input * 2)
    return flow


def mapping() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("mapping")
    flow.map(slug="each")(lambda n: n)
    return flow


async def test_starting_by_flow_stores_a_flow_that_is_missing(ask: Ask, conn: psycopg.Connection) -> None:
    run = await ask("start", double(), {"a": [1, None]})
    assert (run.flow_slug, run.status, run.input, run.remaining_steps) == ("double", "started", {"a": [1, None]}, 1)
    assert isinstance(run.run_id, UUID)
    assert not run.ended
    assert value(conn, "select count(*) from pgflow.runs") == 1


async def test_starting_by_slug_needs_a_stored_flow(ask: Ask, conn: psycopg.Connection) -> None:
    with pytest.raises(FlowNotFound, match="'double' is not in the database") as caught:
        await ask("start", "double", 1)
    assert caught.value.flow_slug == "double"
    assert await ask("compile", double()) == "compiled"
    assert (await ask("start", "double", 1)).status == "started"


async def test_compiling_verifies_refuses_and_replaces(ask: Ask, conn: psycopg.Connection) -> None:
    assert [await ask("compile", double()) for _ in range(2)] == ["compiled", "verified"]
    await ask("start", double(), 1)
    other = double()
    other.step(slug="more")(lambda twice: twice)
    with pytest.raises(FlowMismatch, match="Step count differs: 2 vs 1"):
        await ask("compile", other)
    assert value(conn, "select count(*) from pgflow.runs") == 1
    assert await ask("compile", other, replace=True) == "recompiled"
    assert value(conn, "select count(*) from pgflow.runs") == 0


async def test_a_run_can_be_given_its_id_but_only_once(ask: Ask, conn: psycopg.Connection) -> None:
    run_id = uuid4()
    assert (await ask("start", double(), 1, run_id=run_id)).run_id == run_id
    with pytest.raises(DatabaseError, match=r"^there is a run of this run_id already: give each its own"):
        await ask("start", double(), 2, run_id=str(run_id))
    assert value(conn, "select input from pgflow.runs") == 1


async def test_many_runs_start_in_the_order_of_their_inputs(ask: Ask, conn: psycopg.Connection) -> None:
    run_ids = [uuid4() for _ in range(3)]
    runs = await ask("start_many", double(), (n * 10 for n in range(3)), run_ids=run_ids)
    assert [(run.run_id, run.input) for run in runs] == list(zip(run_ids, [0, 10, 20], strict=True))
    assert await ask("start_many", double(), []) == []


BAD = [
    (double, {1, 2}, "set is no JSON"),
    (double, float("nan"), "nan"),
    (double, "nul \0", "NUL"),
    (mapping, {"no": "list"}, "must be a list"),
]


@pytest.mark.parametrize(("make", "bad", "message"), BAD, ids=[message for *_, message in BAD])
async def test_a_bad_input_is_refused_before_anything_is_written(
    ask: Ask, conn: psycopg.Connection, make: Any, bad: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await ask("start", make(), bad)
    with pytest.raises(InvalidInputError, match=f"input 1: .*{message}"):
        await ask("start_many", make(), [[], bad, []])
    assert value(conn, "select count(*) from pgflow.flows") == 0


async def test_the_database_refuses_what_only_it_can_know(ask: Ask, conn: psycopg.Connection) -> None:
    await ask("compile", mapping())
    with pytest.raises(InvalidInputError, match=r"Input 1: .*not an array \(got number\)"):
        await ask("start_many", "mapping", [[], 5])
    assert value(conn, "select count(*) from pgflow.runs") == 0


async def test_a_snapshot_holds_the_run_and_its_steps(ask: Ask, dsn: str) -> None:
    flow = mapping()
    flow.step(slug="total")(lambda each: sum(each))
    flow.step(slug="never", run_if={"total": "never"})(lambda total: total)
    async with Worker([flow], dsn=dsn):
        run = await ask("wait", await ask("start", flow, [1, 2, 3]), timeout=30)
    assert (run.status, run.ended, run.error, run.failed_task) == ("completed", True, None, None)
    assert (run.input, run.output, run.remaining_steps) == ([1, 2, 3], {}, 0) or run.output is None
    assert isinstance(run.started_at, datetime)
    assert run.started_at <= run.completed_at
    assert run.failed_at is None
    assert list(run.steps) == ["each", "total", "never"]
    each, total, never = run.steps.values()
    assert (each.status, each.output, each.initial_tasks, each.remaining_tasks) == ("completed", [1, 2, 3], 3, 0)
    assert each.done_tasks == 3
    assert each.created_at <= each.started_at <= each.completed_at
    assert (total.output, total.remaining_deps) == (6, 0)
    assert (never.status, never.skip_reason, never.remaining_tasks) == ("skipped", "condition_unmet", None)
    assert never.skipped_at is not None
    assert await ask("get_run", run) == await ask("get_run", str(run.run_id)) == await ask("get_run", run.run_id) == run


async def test_the_snapshot_of_a_failed_run_says_what_failed_it(ask: Ask, dsn: str) -> None:
    flow: Flow[Any, Any] = Flow("failing", base_delay=0)
    flow.step(slug="skipped", max_attempts=1, when_exhausted="skip")(lambda: 1 / 0)
    flow.step(slug="broken", max_attempts=2, depends_on=["skipped"])(lambda: [][1])
    async with Worker([flow], dsn=dsn):
        run = await ask("wait", await ask("start", flow, None), timeout=30)
    assert (run.status, run.error) == ("failed", "IndexError: list index out of range")
    assert (run.failed_task.step_slug, run.failed_task.task_index, run.failed_task.attempt) == ("broken", 0, 2)
    assert run.failed_task.error_message == run.error
    assert (run.steps["broken"].status, run.steps["broken"].error_message) == ("failed", run.error)
    assert run.steps["skipped"].skip_reason == "handler_failed"


async def test_a_run_that_is_not_there_is_said_so(ask: Ask) -> None:
    run_id = uuid4()
    for method in ("get_run", "wait"):
        with pytest.raises(RunNotFound, match=str(run_id)):
            await ask(method, run_id)
        with pytest.raises(InvalidInputError, match="no run id"):
            await ask(method, "not-a-uuid")


async def test_runs_are_listed_newest_first_by_flow_and_status(ask: Ask, conn: psycopg.Connection) -> None:
    doubles = [await ask("start", double(), n) for n in range(3)]
    (other,) = await ask("start_many", mapping(), [[]])
    conn.execute("update pgflow.runs set status = 'failed', failed_at = now() where input = '1'")
    conn.execute("update pgflow.runs set status = 'failed', failed_at = now(), cancelled_at = now() where input = '2'")

    async def listed(*args: Any, **options: Any) -> list[UUID]:
        return [run.run_id for run in await ask("list_runs", *args, **options)]

    ids = [run.run_id for run in doubles]
    assert await listed() == [other.run_id, *reversed(ids)]
    assert await listed("double") == await listed(double()) == ids[::-1]
    assert await listed(status="completed") == [other.run_id]
    assert await listed(status="failed") == [ids[1]]
    assert await listed("double", status="cancelled") == [ids[2]]
    assert await listed("double", status="started", limit=5) == [ids[0]]
    assert await listed(Flow("not_stored_yet")) == []
    with pytest.raises(FlowNotFound, match="'no_such_flow'"):
        await listed("no_such_flow")
    with pytest.raises(InvalidInputError, match="status must be one of"):
        await ask("list_runs", status="done")


@pytest.mark.parametrize("status", [None, "started"])
async def test_a_listing_without_values_is_the_same_otherwise(ask: Ask, status: str | None) -> None:
    await ask("start_many", mapping(), [["large"]])
    whole = await ask("list_runs", status=status)
    assert [run.input for run in whole] == [["large"]]
    bare = await ask("list_runs", status=status, values=False)
    assert bare == [replace(run, input=None, output=None) for run in whole]


async def test_paging_shows_every_run_once_even_those_that_started_together(ask: Ask) -> None:
    started = {run.run_id for run in await ask("start_many", double(), range(7))}
    started |= {(await ask("start", double(), n)).run_id for n in range(3)}
    seen: list[UUID] = []
    page = await ask("list_runs", limit=4)
    while page:
        seen += [run.run_id for run in page]
        page = await ask("list_runs", limit=4, before=page[-1])
    assert len(seen) == 10
    assert set(seen) == started


async def test_runs_of_every_status_are_found_behind_all_that_started_since(ask: Ask, conn: psycopg.Connection) -> None:
    await ask("compile", double())
    by_status: dict[str, set[UUID]] = {}
    for age, status in enumerate(["started", "failed", "cancelled"]):
        by_status[status] = {run.run_id for run in await ask("start_many", double(), range(5))}
        conn.execute(
            "update pgflow.runs set started_at = now() - make_interval(days => %s) where run_id = any (%s)",
            (age + 1, list(by_status[status])),
        )
    for run_id in by_status["cancelled"]:
        await ask("cancel", run_id)
    conn.execute(
        "update pgflow.runs set status = 'failed', failed_at = now() where run_id = any (%s)",
        (list(by_status["failed"]),),
    )
    conn.execute(
        "insert into pgflow.runs (flow_slug, status, input, completed_at) "
        "select 'double', 'completed', '1', now() from generate_series(1, 300)"
    )
    for status, expected in by_status.items():
        assert {run.run_id for run in await ask("list_runs", "double", status=status)} == expected
        first = await ask("list_runs", status=status, limit=3)
        then = await ask("list_runs", status=status, limit=3, before=first[-1])
        assert (len(first), len(then)) == (3, 2)
        assert {run.run_id for run in first + then} == expected
    (newest,) = await ask("start_many", double(), [1])
    found = await ask("list_runs", "double", status="started")
    assert found[0].run_id == newest.run_id
    assert {run.run_id for run in found} == {newest.run_id, *by_status["started"]}


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"limit": 0}, "limit must be a whole number from 1 to 1,000,000,000, not 0"),
        ({"limit": 10**20}, "limit must be a whole number"),
        ({"limit": True}, "limit must be a whole number from 1 to 1,000,000,000, not True"),
        ({"limit": "x"}, "limit must be a whole number from 1 to 1,000,000,000, not 'x'"),
        ({"before": "x"}, "before must be a run of an earlier listing or a datetime, not 'x'"),
        ({"flow": 5}, "expected a pgflow.Flow, or the slug of a stored one, not 5"),
        ({"flow": "a\0b"}, "a NUL character in a text: PostgreSQL cannot hold it"),
        ({"flow": "a\udcff"}, r"half a surrogate pair in 'a\\udcff': PostgreSQL cannot hold it"),
    ],
)
async def test_a_listing_refuses_what_makes_no_sense(ask: Ask, filters: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await ask("list_runs", **filters)


@pytest.mark.parametrize("flow", [{"slug": "f", "steps": [{"slug": "a"}]}, "f", None])
async def test_what_is_no_flow_is_not_compiled(ask: Ask, flow: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"expected a pgflow.Flow or a FlowSpec, not .*: FlowSpec.load makes"):
        await ask("compile", flow)


async def test_listing_goes_on_before_a_time(ask: Ask) -> None:
    first, second = [await ask("start", double(), n) for n in range(2)]
    assert [run.run_id for run in await ask("list_runs", before=second.started_at)] == [first.run_id]
