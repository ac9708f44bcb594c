"""Steps with transactional=True: what the handler did is committed with its result, or not at all."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from pgflow import AsyncClient, Context, Flow, Permanent, Run, Worker, calls
from pgflow.records import Outcome, TaskKey
from tests.faults.commits import CommitCutter, CommitFault
from tests.support import aeventually, rows, value
from tests.worker.support import one_task_flow, tasks, work

KINDS = ("async", "thread")
Act = Callable[[Context], Any]


@pytest.fixture(autouse=True)
def effects(conn: psycopg.Connection) -> None:
    """What handlers do in the tests: the number of the attempt that did it."""
    conn.execute("create table effects (attempt int, n int default 0)")


def done(conn: psycopg.Connection) -> list[int]:
    return [attempt for (attempt,) in rows(conn, "select attempt from effects order by attempt")]


def flow_that(act: Act, kind: str = "async", **options: Any) -> Flow[Any, Any]:
    """A flow of one transactional step, which notes its attempt and then returns what `act` returns."""
    note = "insert into effects values (%s)"

    async def on_loop(ctx: Context) -> Any:
        await ctx.connection.execute(note, [ctx.attempt])
        result = act(ctx)
        return await result if inspect.isawaitable(result) else result

    def in_thread(ctx: Context) -> Any:
        ctx.connection.execute(note, [ctx.attempt])
        return act(ctx)

    return one_task_flow(on_loop if kind == "async" else in_thread, transactional=True, **options)


def raises_at_first(error: Exception) -> Act:
    def act(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise error
        return "done"

    return act


# ---------------------------------------------------------------------------------------- together


@pytest.mark.parametrize("kind", KINDS)
async def test_effect_and_result_are_committed_by_one_transaction(
    dsn: str, conn: psycopg.Connection, kind: str
) -> None:
    run = await work(dsn, flow_that(lambda ctx: {"by": str(ctx.worker_id)}, kind))
    assert done(conn) == [1]
    (task,) = tasks(conn, "only")
    assert run.output == {"only": {"by": str(task["last_worker_id"])}}
    assert value(conn, "select xmin from effects") == value(conn, "select xmin from pgflow.step_tasks")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_handler_did_before_it_raised_is_rolled_back(
    dsn: str, conn: psycopg.Connection, kind: str
) -> None:
    run = await work(dsn, flow_that(raises_at_first(RuntimeError("no")), kind))
    assert run.output == {"only": "done"}
    assert done(conn) == [2]
    (task,) = tasks(conn, "only")
    assert (task["attempts_count"], task["error_message"]) == (2, "RuntimeError: no")


async def test_permanent_failures_and_attempts_are_those_of_any_step(dsn: str, conn: psycopg.Connection) -> None:
    assert (await work(dsn, flow_that(raises_at_first(Permanent("for good"))))).error == "Permanent: for good"
    assert done(conn) == []
    assert tasks(conn, "only")[0]["attempts_count"] == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_maps_are_transactional_per_task(dsn: str, conn: psycopg.Connection, kind: str) -> None:
    async def on_loop(n: int, ctx: Context) -> int:
        await ctx.connection.execute("insert into effects values (%s, %s)", [ctx.attempt, n])
        return failing_once(n, ctx)

    def in_thread(n: int, ctx: Context) -> int:
        ctx.connection.execute("insert into effects values (%s, %s)", [ctx.attempt, n])
        return failing_once(n, ctx)

    def failing_once(n: int, ctx: Context) -> int:
        if n % 3 == 0 and ctx.attempt == 1:
            raise RuntimeError("no")
        return n * n

    flow = Flow("solo", base_delay=0)
    flow.map(slug="only", transactional=True)(on_loop if kind == "async" else in_thread)
    run = await work(dsn, flow, list(range(30)))
    assert run.output == {"only": [n * n for n in range(30)]}
    assert rows(conn, "select n, attempt from effects order by n") == [(n, 1 + (n % 3 == 0)) for n in range(30)]


async def test_what_follows_is_fetched_at_once(dsn: str) -> None:
    flow = Flow("chain")

    @flow.step(transactional=True)
    async def first(ctx: Context) -> list[int]:
        return [1, 2]

    @flow.map(over=first, transactional=True)
    def second(n: int, ctx: Context) -> int:
        return n + 1

    @flow.step
    async def third(second: list[int]) -> int:
        return sum(second)

    assert (await work(dsn, flow, poll_interval=1000)).output == {"third": 5}


async def test_a_handler_gets_its_input_too(dsn: str) -> None:
    flow = Flow("inputs")

    @flow.step
    def first() -> int:
        return 2

    @flow.step(transactional=True)
    async def second(first: int, flow_input: int, ctx: Context) -> int:
        return first + flow_input + await ctx.load_input()

    assert (await work(dsn, flow, 20)).output == {"second": 42}


# ---------------------------------------------------------------------------------------- refused results


def claimed_by_another(conn: psycopg.Connection, key: TaskKey) -> None:
    conn.execute("update pgflow.step_tasks set fence = fence + 1, last_worker_id = gen_random_uuid()")


def cancelled(conn: psycopg.Connection, key: TaskKey) -> None:
    conn.execute("select pgflow.cancel_run(%s, 'no more')", [key.run_id])


def settled_already(conn: psycopg.Connection, key: TaskKey) -> None:
    call = calls.settle_tasks(uuid4(), [Outcome.failed(key, "sent before", permanent=True)])
    assert call.decode(conn.execute(call.sql, call.args).fetchall()) == ["applied"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("meanwhile", [claimed_by_another, cancelled, settled_already])
async def test_a_refused_result_takes_its_effect_along(
    dsn: str, conn: psycopg.Connection, kind: str, meanwhile: Callable[[psycopg.Connection, TaskKey], None]
) -> None:
    returned = threading.Event()

    def act(ctx: Context) -> str:
        meanwhile(conn, TaskKey(ctx.run_id, ctx.step_slug, ctx.task_index, 1))
        returned.set()
        return "late"

    flow = flow_that(act, kind)
    async with Worker([flow], dsn=dsn, lease=60) as worker, AsyncClient(dsn) as client:
        await client.start(flow, None)
        await aeventually(lambda: returned.is_set() and len(worker._held) == 0)
    assert done(conn) == []
    assert tasks(conn, "only")[0]["output"] is None


# ---------------------------------------------------------------------------------------- COMMIT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["lost", "unanswered"])
async def test_a_commit_whose_answer_is_lost_happens_exactly_once(
    dsn: str, conn: psycopg.Connection, kind: str, fault: CommitFault
) -> None:
    attempts: list[int] = []

    def act(ctx: Context) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            network.cut_next(fault)
        return len(attempts)

    flow = flow_that(act, kind)
    async with (
        CommitCutter(dsn) as network,
        Worker([flow], dsn=network.dsn, lease=1, poll_interval=0.1),
        AsyncClient(dsn) as client,
    ):
        run = await client.wait(await client.start(flow, None), timeout=60)
        assert network.cuts == 1
    assert len(done(conn)) == 1
    assert run.output == {"only": len(attempts)}
    assert len(attempts) == {"lost": 2, "unanswered": 1}[fault]
    (task,) = tasks(conn, "only")
    assert (task["attempts_count"], task["requeued_count"], task["error_message"]) == (1, 0, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_constraint_that_is_checked_at_commit_fails_the_attempt(
    dsn: str, conn: psycopg.Connection, kind: str
) -> None:
    conn.execute("alter table effects add constraint once unique (attempt) deferrable initially deferred")
    conn.execute("insert into effects values (1)")
    await work(dsn, flow_that(lambda ctx: "done", kind))
    assert done(conn) == [1, 2]
    (task,) = tasks(conn, "only")
    assert task["error_message"].startswith("UniqueViolation: duplicate key value")


async def test_a_session_that_is_lost_before_commit_fails_the_attempt(dsn: str, conn: psycopg.Connection) -> None:
    def act(ctx: Context) -> str:
        if ctx.attempt == 1:
            conn.execute("select pg_terminate_backend(%s)", [ctx.connection.info.backend_pid])
        return "done"

    await work(dsn, flow_that(act))
    assert done(conn) == [2]
    assert tasks(conn, "only")[0]["error_message"].startswith("AdminShutdown: terminating connection")


@pytest.mark.parametrize("kind", KINDS)
async def test_sessions_that_died_in_the_pool_cost_no_attempt(dsn: str, conn: psycopg.Connection, kind: str) -> None:
    flow = flow_that(lambda ctx: ctx.connection.info.backend_pid, kind)
    async with Worker([flow], dsn=dsn, concurrency=1) as _, AsyncClient(dsn) as client:
        first = await client.wait(await client.start(flow, None), timeout=30)
        assert value(conn, "select pg_terminate_backend(%s, 5000)", first.output["only"])
        second = await client.wait(await client.start(flow, None), timeout=30)
    assert second.output != first.output
    assert [t["attempts_count"] for t in tasks(conn, "only")] == [1, 1]
    assert done(conn) == [1, 1]


# ---------------------------------------------------------------------------------------- stopped


async def stop_by_timeout(client: AsyncClient, run: Run) -> None:
    pass


async def stop_by_cancel(client: AsyncClient, run: Run) -> None:
    await client.cancel(run, reason="enough")


def hang_in_sql(ctx: Context, enough: threading.Event) -> Any:
    return ctx.connection.execute("select pg_sleep(300)")


def hang_in_python(ctx: Context, enough: threading.Event) -> Any:
    return enough.wait(300)


async def hang_on_the_loop(ctx: Context, enough: threading.Event) -> None:
    await asyncio.sleep(300)


async def hang_whatever_is_said(ctx: Context, enough: threading.Event) -> None:
    while not enough.is_set():
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("stop", [stop_by_timeout, stop_by_cancel])
@pytest.mark.parametrize(
    ("kind", "hang"),
    [
        ("async", hang_in_sql),
        ("async", hang_on_the_loop),
        ("async", hang_whatever_is_said),
        ("thread", hang_in_sql),
        ("thread", hang_in_python),
    ],
)
async def test_what_is_stopped_is_rolled_back_though_its_handler_hangs(
    dsn: str,
    conn: psycopg.Connection,
    kind: str,
    hang: Callable[[Context, threading.Event], Any],
    stop: Callable[[AsyncClient, Run], Any],
) -> None:
    began, enough = threading.Event(), threading.Event()
    sessions: list[int] = []

    def act(ctx: Context) -> Any:
        if ctx.attempt == 1:
            sessions.append(ctx.connection.info.backend_pid)
            began.set()
            return hang(ctx, enough)
        return "done"

    timeout = 1 if stop is stop_by_timeout else 60
    flow = flow_that(act, kind, timeout=timeout, max_attempts=2)
    async with Worker([flow], dsn=dsn, lease=1, grace=0) as worker, AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        await aeventually(began.is_set)
        await stop(client, run)
        ended = await client.wait(run, timeout=30)
        await aeventually(lambda: len(worker._held) == 0)
        in_use = "select count(*) from pg_stat_activity where pid = %s and state <> 'idle'"
        await aeventually(lambda: value(conn, in_use, sessions[0]) == 0)
        enough.set()
    assert done(conn) == ([2] if stop is stop_by_timeout else [])
    assert ended.status == ("completed" if stop is stop_by_timeout else "cancelled")


async def test_a_stopped_worker_rolls_back_and_hands_back(dsn: str, conn: psycopg.Connection) -> None:
    began = threading.Event()
    flow = flow_that(lambda ctx: began.set() or asyncio.sleep(300))
    async with Worker([flow], dsn=dsn, grace=0), AsyncClient(dsn) as client:
        await client.start(flow, None)
        await aeventually(began.is_set)
    assert done(conn) == []
    (task,) = tasks(conn, "only")
    assert (task["status"], task["attempts_count"]) == ("queued", 0)


# ---------------------------------------------------------------------------------------- misuse

MISUSED = {
    "commit": "TransactionMisused: the handler ended its task's transaction",
    "rollback": "TransactionMisused: the handler ended its task's transaction",
    "commit and go on": "TransactionMisused: the handler ended its task's transaction",
    "close": "TransactionMisused: the handler closed ctx.connection",
}


@pytest.mark.parametrize("misuse", MISUSED)
def test_a_handler_that_ends_its_transaction_fails_for_good(dsn: str, conn: psycopg.Connection, misuse: str) -> None:
    def act(ctx: Context) -> str:
        match misuse:
            case "close":
                ctx.connection.close()
            case "commit and go on":
                ctx.connection.execute("commit; begin; insert into effects values (7)")
            case _:
                ctx.connection.execute(misuse)
        return "done"

    run = asyncio.run(work(dsn, flow_that(act, "thread")))
    assert run.status == "failed"
    assert run.error.startswith(MISUSED[misuse])
    assert tasks(conn, "only")[0]["attempts_count"] == 1
    assert 7 not in done(conn)


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_psycopgs_own_ways_to_end_it_are_forbidden(dsn: str, conn: psycopg.Connection, end: str) -> None:
    flow = flow_that(lambda ctx: getattr(ctx.connection, end)(), max_attempts=1)
    assert (await work(dsn, flow)).error.startswith(f"ProgrammingError: Explicit {end}() forbidden")
    assert done(conn) == []


async def test_a_handler_that_hides_a_failed_statement_is_told(dsn: str, conn: psycopg.Connection) -> None:
    async def act(ctx: Context) -> str:
        try:
            await ctx.connection.execute("select 1/0")
        except psycopg.Error:
            return "nothing happened"
        return "never"

    run = await work(dsn, flow_that(act, max_attempts=1))
    assert run.error.startswith("TransactionAborted: a statement of the handler's failed and the handler went on")
    assert done(conn) == []


async def test_what_may_fail_goes_into_a_block_of_its_own(dsn: str, conn: psycopg.Connection) -> None:
    async def act(ctx: Context) -> str:
        try:
            async with ctx.connection.transaction():
                await ctx.connection.execute("insert into effects values (7)")
                await ctx.connection.execute("select 1/0")
        except psycopg.Error:
            return "went on"
        return "never"

    assert (await work(dsn, flow_that(act))).output == {"only": "went on"}
    assert done(conn) == [1]


@pytest.fixture
def _any_number_of_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


REFUSED = {
    "by us": (object(), "InvalidInputError: the handler's result: "),
    "by the database": (10**200_000, "the result cannot be stored: "),
}


@pytest.mark.usefixtures("_any_number_of_digits")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", REFUSED)
async def test_a_result_that_cannot_be_stored_takes_its_effect_along(
    dsn: str, conn: psycopg.Connection, kind: str, by: str
) -> None:
    result, error = REFUSED[by]
    run = await work(dsn, flow_that(lambda ctx: result, kind))
    assert (run.error or "").startswith(error)
    assert done(conn) == []
    assert tasks(conn, "only")[0]["attempts_count"] == 1


async def test_no_list_where_a_map_needs_one_takes_its_effect_along(dsn: str, conn: psycopg.Connection) -> None:
    flow = flow_that(lambda ctx: {"no": "list"})
    flow.map(slug="each", over="only")(lambda n: n)
    run = await work(dsn, flow)
    assert run.error == ("InvalidInputError: the handler's result: step 'each' maps over it, so it must be a list")
    assert done(conn) == []


async def test_other_steps_have_no_connection(dsn: str) -> None:
    run = await work(dsn, one_task_flow(lambda ctx: ctx.connection, max_attempts=1))
    assert run.error == "RuntimeError: step 'only' has no connection: declare the step with transactional=True"


# ---------------------------------------------------------------------------------------- the connections


async def test_a_task_finds_a_clean_session(dsn: str, conn: psycopg.Connection) -> None:
    def act(ctx: Context) -> list[Any]:
        connection = ctx.connection
        found = [connection.execute(f"show {name}").fetchone() for name in ("work_mem", "search_path")]
        own_locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        found.append(connection.execute(own_locks).fetchone())
        found.append(connection.execute("select to_regclass('leftover')").fetchone())
        connection.execute("set work_mem = '123MB'; set search_path = nowhere; select pg_advisory_lock(1)")
        connection.execute("create temp table leftover ()")
        connection.row_factory = dict_row
        return [connection.info.backend_pid, found]

    flow = flow_that(act, "thread")
    async with Worker([flow], dsn=dsn, concurrency=1), AsyncClient(dsn) as client:
        outputs = [(await client.wait(await client.start(flow, None), timeout=30)).output["only"] for _ in range(3)]
    assert len({session for session, _ in outputs}) == 1
    assert {str(found) for _, found in outputs} == {"[['4MB'], ['\"$user\", public'], [0], [None]]"}


async def test_transactions_are_read_committed_whatever_the_databases_default(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute(f"alter database {conninfo_to_dict(dsn)['dbname']} set default_transaction_isolation = serializable")

    async def act(ctx: Context) -> Any:
        cursor = await ctx.connection.execute("select current_setting('transaction_isolation'), '{\"a\": 1}'::jsonb")
        return await cursor.fetchone()

    assert (await work(dsn, flow_that(act))).output == {"only": ["read committed", {"a": 1}]}


async def test_there_are_no_more_sessions_than_tasks_at_once(dsn: str, conn: psycopg.Connection) -> None:
    flow = Flow("solo")
    flow.map(slug="only", transactional=True)(lambda n, ctx: ctx.connection.info.backend_pid)
    run = await work(dsn, flow, list(range(40)), concurrency=3)
    assert 1 <= len(set(run.output["only"])) <= 3


async def test_only_flows_with_transactional_steps_cost_a_pool(dsn: str) -> None:
    async with Worker([one_task_flow(lambda: 1)], dsn=dsn) as worker:
        assert worker._transactional is None
    async with Worker([flow_that(lambda ctx: 1)], dsn=dsn) as worker:
        assert worker._transactional is not None
