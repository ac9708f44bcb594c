"""Steps that name an executor which their worker is given."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, Worker, aexecute
from pgflow.config import SettingsError
from pgflow.errors import ExecutorError
from pgflow.testing import run_inline
from tests.executors import flows
from tests.support import aeventually, value
from tests.worker.support import one_task_flow, tasks, work

NOWHERE = "postgresql://127.0.0.1:1/nowhere"


def threads(count: int = 1) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread."""
    with threads() as executor:
        yield executor


def elements(directory: Path, *names: str) -> list[dict[str, str]]:
    return [{"directory": str(directory), "name": name} for name in names]


def let_go(directory: Path, *names: str) -> None:
    for name in names:
        (directory / f"go-{name}").touch()


def names_begun(directory: Path) -> list[str]:
    """The tasks that have begun."""
    return sorted(path.name for path in directory.glob("?-1"))


# ---------------------------------------------------------------------------------------- what crosses


@pytest.mark.parametrize(("make", "is_elsewhere"), [(threads, False), (processes, True)])
async def test_values_and_the_context_cross_to_it_and_back(dsn: str, make: Any, is_elsewhere: bool) -> None:
    with make() as executor:
        run = await work(dsn, flows.pooled, {"x": 1, "y": 2}, executors={"pool": executor})
    assert (flows.where_it_ran(run) != os.getpid()) == is_elsewhere


@pytest.mark.parametrize(
    ("how", "status", "message", "attempts"),
    [
        ("odd", "completed", "Odd: 1 and 2", 2),
        ("sys.exit", "completed", "SystemExit: 5", 2),
        ("unprintable", "completed", "Unprintable: (its message cannot be printed)", 2),
        ("retry after", "completed", "RetryAfter: later", 2),
        ("invalid", "completed", "InvalidInputError: the handler's own", 2),
        ("permanent", "failed", "Permanent: never", 1),
        ("no json", "failed", "InvalidInputError: the handler's result: not JSON: a value of type set is no JSON", 1),
    ],
)
async def test_how_a_handler_ends_is_how_its_task_goes_on(
    dsn: str, conn: psycopg.Connection, pool: Executor, how: str, status: str, message: str, attempts: int
) -> None:
    run = await work(dsn, flows.pool_ends, how, executors={"pool": pool})
    assert run.status == status
    (task,) = tasks(conn, "end")
    assert task["error_message"].startswith(message)
    assert task["attempts_count"] == attempts


@pytest.mark.parametrize(("how", "attempts"), [("busy", 2), ("wrong", 1), ("later", 2)])
async def test_retry_on_is_heeded(dsn: str, conn: psycopg.Connection, pool: Executor, how: str, attempts: int) -> None:
    await work(dsn, flows.pool_picky, how, executors={"pool": pool})
    assert tasks(conn, "pick")[0]["attempts_count"] == attempts


async def test_an_input_that_does_not_fit_fails_for_good(dsn: str, conn: psycopg.Connection, pool: Executor) -> None:
    run = await work(dsn, flows.pooled, {"x": "one"}, executors={"pool": pool})
    assert run.error.startswith("InvalidInputError: parameter 'flow_input': x: ")
    assert tasks(conn, "point")[0]["attempts_count"] == 1


async def test_execute_takes_them_too(dsn: str, pool: Executor) -> None:
    assert await aexecute(flows.pool_ends, "odd", dsn=dsn, executors={"pool": pool}) == {"end": "second"}


def test_in_tests_a_pool_may_stand_in_and_inline_runs_need_none(
    pgflow_client: Client, pgflow_worker: Callable[..., None], pool: Executor
) -> None:
    assert run_inline(flows.pool_ends, "odd").result == {"end": "second"}
    run = pgflow_client.start(flows.pool_ends, "odd")
    pgflow_worker(flows.pool_ends, executors={"pool": pool})
    assert pgflow_client.get_run(run).output == {"end": "second"}


# ---------------------------------------------------------------------------------------- time


async def test_what_overruns_its_timeout_fails_on_time_and_keeps_its_slot_until_it_ends(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    with threads(2) as executor:
        options = {"concurrency": 1, "executors": {"pool": executor}}
        async with Worker([flows.pool_hurried], dsn=dsn, **options), AsyncClient(dsn) as client:
            late = await client.wait(await client.start(flows.pool_hurried, elements(tmp_path, "a")), timeout=30)
            assert late.error == (
                "HandlerTimeout: the handler, with its wait for executor 'pool', did not end within its timeout of 1 s"
            )
            let_go(tmp_path, "b")
            waiting = await client.start(flows.pool_hurried, elements(tmp_path, "b"))
            await asyncio.sleep(0.5)  # that nothing happens cannot be waited for
            assert not (tmp_path / "b-1").exists()
            let_go(tmp_path, "a")
            assert (await client.wait(waiting, timeout=30)).status == "completed"
    assert [t["output"] for t in tasks(conn, "watch") if t["run_id"] == late.run_id] == [None]


async def test_what_has_not_begun_at_its_timeout_never_begins_and_keeps_no_slot(
    dsn: str, pool: Executor, tmp_path: Path
) -> None:
    options = {"concurrency": 3, "executors": {"pool": pool}}
    async with Worker([flows.pool_hurried], dsn=dsn, **options) as worker, AsyncClient(dsn) as client:
        runs = [await client.start(flows.pool_hurried, elements(tmp_path, name)) for name in "ab"]
        ended = [await client.wait(run, timeout=30) for run in runs]
        assert {run.status for run in ended} == {"failed"}
        begun = names_begun(tmp_path)
        assert len(begun) == 1
        await aeventually(lambda: worker._held._lingering == 1)
        let_go(tmp_path, "a", "b")
        await aeventually(lambda: worker._held._lingering == 0)
        assert names_begun(tmp_path) == begun


async def test_at_the_end_of_the_grace_period_what_has_not_begun_is_cancelled_and_all_is_handed_back(
    dsn: str, conn: psycopg.Connection, pool: Executor, tmp_path: Path
) -> None:
    async with Worker([flows.pool_watched], dsn=dsn, grace=0, executors={"pool": pool}), AsyncClient(dsn) as client:
        await client.start(flows.pool_watched, elements(tmp_path, "a", "b"))
        await aeventually(lambda: names_begun(tmp_path))
        await aeventually(lambda: [t["status"] for t in tasks(conn, "watch")] == ["started", "started"])
    assert [(t["status"], t["attempts_count"]) for t in tasks(conn, "watch")] == [("queued", 0)] * 2
    let_go(tmp_path, "a", "b")
    pool.shutdown()
    assert len(names_begun(tmp_path)) == 1


# ---------------------------------------------------------------------------------------- executors that fail


async def test_an_executor_that_breaks_fails_its_tasks_and_not_the_worker(
    dsn: str, conn: psycopg.Connection, pool: Executor
) -> None:
    other = one_task_flow(lambda: "works")
    with processes() as executor:
        serving = Worker([flows.pool_ends, other], dsn=dsn, executors={"pool": executor})
        async with serving, AsyncClient(dsn) as client:
            run = await client.wait(await client.start(flows.pool_ends, "exit 3"), timeout=30)
            assert run.error is not None
            assert run.error.startswith("ExecutorFailed: executor 'pool' took no task (BrokenProcessPool: ")
            assert (await client.wait(await client.start(other, None), timeout=30)).output == {"only": "works"}
    assert tasks(conn, "end")[0]["attempts_count"] == 2


async def test_an_executor_that_was_shut_down_fails_its_tasks(dsn: str, pool: Executor) -> None:
    pool.shutdown()
    run = await work(dsn, flows.pool_ends, "odd", executors={"pool": pool})
    assert run.error == (
        "ExecutorFailed: executor 'pool' took no task (RuntimeError: cannot schedule new futures after shutdown)"
    )


# ---------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("executors", "message"),
    [
        (
            None,
            "step 'end' of flow 'pool_ends' asks for executor 'pool', but the worker has 'process': give it one by ",
        ),
        ({"dask": ThreadPoolExecutor()}, "asks for executor 'pool', but the worker has 'dask', 'process': give it"),
        ({"pol": ThreadPoolExecutor()}, "but the worker has 'pol', 'process'; did you mean 'pol'?"),
    ],
)
def test_a_name_that_the_worker_does_not_know_is_refused_before_any_io(executors: Any, message: str) -> None:
    with pytest.raises(ExecutorError) as raised:
        Worker([flows.pool_ends], dsn=NOWHERE, executors=executors)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("executors", "message"),
    [
        (ThreadPoolExecutor(), "executors must be a mapping of names to executors, or a function that yields one, not"),
        ({"pool": 3}, r"executors\['pool'\] must be a concurrent.futures.Executor, not 3"),
        ({"process": ThreadPoolExecutor()}, "executors cannot have one named 'process': that is pgflow's own"),
    ],
)
def test_what_is_no_executor_is_refused_before_any_io(executors: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Worker([flows.pool_ends], dsn=NOWHERE, executors=executors)


def test_a_flow_that_no_executor_could_find_is_refused_before_any_io(pool: Executor) -> None:
    flow = one_task_flow(lambda: 1, executor="pool")
    with pytest.raises(ExecutorError, match="assign it to a global name of a module"):
        Worker([flow], dsn=NOWHERE, executors={"pool": pool})


# ---------------------------------------------------------------------------------------- opened around the work


async def test_a_function_opens_and_closes_them_around_the_work(dsn: str) -> None:
    story: list[str] = []

    @asynccontextmanager
    async def executors(worker: Worker) -> AsyncIterator[dict[str, Executor]]:
        with threads() as executor:
            story.append(f"opened for {worker.worker_id}")
            yield {"pool": executor}
        story.append("closed")

    async with Worker([flows.pool_ends], dsn=dsn, executors=executors) as worker, AsyncClient(dsn) as client:
        run = await client.wait(await client.start(flows.pool_ends, "odd"), timeout=30)
        assert run.output == {"end": "second"}
        assert story == [f"opened for {worker.worker_id}"]
    assert story[1:] == ["closed"]


@asynccontextmanager
async def no_pool(worker: Worker) -> AsyncIterator[dict[str, Executor]]:
    yield {"dask": ThreadPoolExecutor()}


@asynccontextmanager
async def a_list(worker: Worker) -> AsyncIterator[Any]:
    yield [ThreadPoolExecutor()]


@pytest.mark.parametrize(
    ("executors", "error", "message"),
    [
        (no_pool, ExecutorError, "asks for executor 'pool', but the worker has 'dask', 'process'"),
        (a_list, SettingsError, "executors yielded list: yield a mapping of names to executors"),
        (lambda worker: {}, SettingsError, "executors gave dict, not an async context manager"),
    ],
)
async def test_a_function_that_does_not_yield_what_is_asked_for_is_refused(
    dsn: str, conn: psycopg.Connection, executors: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        async with Worker([flows.pool_ends], dsn=dsn, executors=executors):
            pytest.fail("the worker started")
    assert value(conn, "select count(*) from pgflow.workers") == 0


def test_what_is_opened_may_take_the_signals_and_the_worker_stops_all_the_same(dsn: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    @asynccontextmanager
    async def executors(worker: Worker) -> AsyncIterator[dict[str, Executor]]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray puts its own in place
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        yield {}

    try:
        assert Worker([one_task_flow(lambda: 1)], dsn=dsn, executors=executors).run() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_where_a_handler_runs_is_no_business_of_the_database() -> None:
    one, other = Flow("same"), Flow("same")
    one.step(slug="only")(lambda: 1)
    other.step(slug="only", executor="dask")(lambda: 1)
    assert (one.shape(), one.sql()) == (other.shape(), other.sql())
