"""Stopping: what runs may finish, the rest goes back to the queue at once, results are stored."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Client, Context, Flow, Worker
from tests.faults.proxy import Proxy
from tests.support import aeventually, eventually, value
from tests.worker.support import one_task_flow, process, tasks

#: A map of five: two at a time, that end at once, soon or never.
APP = """
    import sys, time
    from pgflow import Flow, Worker

    dsn, kind, grace = sys.argv[1:]
    flow = Flow("stopping", timeout=600)

    @flow.map
    def handler(n: int) -> int:
        sys.stdout.write(f"begun {n}\\n")  # one write: print makes several
        time.sleep({"instant": 0, "quick": 1.5, "slow": 600}[kind])
        return n

    sys.exit(Worker([flow], dsn=dsn, concurrency=2, grace=float(grace)).run())
"""


def begun(running: subprocess.Popen[str], count: int) -> None:
    """Waits until so many handlers have begun."""
    assert running.stdout is not None
    for _ in range(count):
        assert running.stdout.readline().startswith("begun")


def start(dsn: str, count: int = 5) -> None:
    flow = Flow("stopping", timeout=600)
    flow.map(slug="handler")(lambda n: n)
    with Client(dsn) as client:
        client.start(flow, list(range(count)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_tasks_finish_and_takes_no_new_ones(
    dsn: str, conn: psycopg.Connection, tmp_path: Path, number: signal.Signals
) -> None:
    start(dsn)
    with process(tmp_path, APP, dsn, "quick", "20") as running:
        begun(running, 2)
        running.send_signal(number)
        assert running.wait(20) == 0
    assert [t["status"] for t in tasks(conn, "handler")] == ["completed"] * 2 + ["queued"] * 3
    assert [t["attempts_count"] for t in tasks(conn, "handler")] == [1, 1, 0, 0, 0]
    assert value(conn, "select count(*) from pgflow.workers where stopped_at is not null") == 1


LOAD = """
    import asyncio, sys
    from pgflow import Flow, Worker

    flow = Flow("stopping", timeout=600)

    @flow.map
    async def handler(n: int) -> int:
        await asyncio.sleep(600 if n % 100 == 0 else 0.01)
        sys.stdout.write(f"done {n}\\n")
        return n

    sys.exit(Worker([flow], dsn=sys.argv[1], concurrency=50, grace=1).run())
"""


def test_under_load_every_finished_result_is_stored_and_the_rest_handed_back(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    start(dsn, 3000)
    with process(tmp_path, LOAD, dsn) as running:
        assert running.stdout is not None
        done = [running.stdout.readline() for _ in range(200)]
        running.send_signal(signal.SIGTERM)
        done += running.stdout.readlines()
        assert running.wait(60) == 0
    finished = {int(line.split()[1]) for line in done}
    ended = {t["task_index"]: t for t in tasks(conn, "handler")}
    assert {n for n, task in ended.items() if task["status"] == "completed"} == finished
    assert len(finished) < 3000
    assert {(t["status"], t["attempts_count"], t["requeued_count"]) for n, t in ended.items() if n not in finished} == {
        ("queued", 0, 0)
    }
    assert value(conn, "select count(*) from pgmq.q_stopping where vt > clock_timestamp()") == 0


def test_after_the_grace_period_tasks_are_handed_back_at_once_with_their_attempt(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    start(dsn)
    with process(tmp_path, APP, dsn, "slow", "0.2") as running:
        begun(running, 2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert {(t["status"], t["attempts_count"], t["requeued_count"]) for t in tasks(conn, "handler")} == {
        ("queued", 0, 0)
    }
    assert value(conn, "select bool_and(vt <= clock_timestamp()) from pgmq.q_stopping")
    assert value(conn, "select count(*) from pgmq.q_stopping") == 5


def test_a_second_signal_exits_at_once(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    start(dsn)
    with process(tmp_path, APP, dsn, "slow", "600") as running:
        begun(running, 2)
        running.send_signal(signal.SIGTERM)
        assert running.stderr is not None
        assert "finishing what runs" in running.stderr.readline()
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 130
        assert running.stderr.read().count("second signal") == 1  # the loop and its watch both hear of it


def test_an_async_handler_that_ignores_its_cancellation_does_not_keep_the_process(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    start(dsn)
    stubborn = """
        import asyncio, sys
        from pgflow import Flow, Worker

        flow = Flow("stopping", timeout=600)

        @flow.map
        async def handler(n: int) -> int:
            sys.stdout.write(f"begun {n}\\n")  # one write: print makes several
            while True:
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    pass

        sys.exit(Worker([flow], dsn=sys.argv[1], concurrency=2, grace=0).run())
    """
    with process(tmp_path, stubborn, dsn) as running:
        begun(running, 2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert {(t["status"], t["attempts_count"]) for t in tasks(conn, "handler")} == {("queued", 0)}


async def test_leaving_the_block_tells_and_cancels_handlers_and_gives_their_attempt_back(
    dsn: str, conn: psycopg.Connection
) -> None:
    began, saw = asyncio.Event(), []

    async def endless(ctx: Context) -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        finally:
            saw.append(ctx.cancelled.is_set())

    flow = one_task_flow(endless)
    async with Worker([flow], dsn=dsn, grace=0), AsyncClient(dsn) as client:
        await client.start(flow, None)
        await began.wait()
    assert saw == [True]
    (task,) = tasks(conn, "only")
    assert (task["status"], task["attempts_count"], task["fence"]) == ("queued", 0, 1)


async def test_another_worker_takes_what_was_handed_back_at_once(dsn: str) -> None:
    began, enough = threading.Event(), threading.Event()

    def handler(ctx: Context) -> int:
        if not began.is_set():
            began.set()
            enough.wait(60)
        return ctx.attempt

    flow = one_task_flow(handler)
    async with AsyncExitStack() as stack, AsyncClient(dsn) as client:
        async with Worker([flow], dsn=dsn, grace=0, lease=1000):
            run = await client.start(flow, None)
            await aeventually(began.is_set)
            await stack.enter_async_context(Worker([flow], dsn=dsn, lease=1000, poll_interval=1000))
        assert (await client.wait(run, timeout=30)).output == {"only": 1}
        enough.set()


async def test_stop_stops_taking_tasks_but_the_block_decides_when_to_end(dsn: str, conn: psycopg.Connection) -> None:
    flow: Flow[Any, Any] = Flow("stopping")
    begun: list[int] = []
    enough = asyncio.Event()

    @flow.map
    async def handler(n: int) -> int:
        begun.append(n)
        await enough.wait()
        return n

    async with Worker([flow], dsn=dsn, concurrency=2) as worker, AsyncClient(dsn) as client:
        await client.start(flow, list(range(6)))
        await aeventually(lambda: len(begun) == 2)
        worker.stop()
        await asyncio.wait_for(worker.stopped(), 5)
        enough.set()
        done = "select count(*) from pgflow.step_tasks where status = 'completed'"
        await aeventually(lambda: value(conn, done) == 2)
        await client.start(flow, [6])  # wakes whoever listens
    assert len(begun) == 2
    assert value(conn, "select count(*) from pgflow.step_tasks where status = 'queued' and attempts_count = 0") == 5


async def test_what_comes_along_with_the_last_results_is_handed_back(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow: Flow[Any, Any] = Flow("stopping")
    begun: list[int] = []

    @flow.map
    async def handler(n: int) -> int:
        begun.append(n)
        return n

    async with Worker([flow], dsn=dsn, concurrency=2) as worker, AsyncClient(dsn) as client:
        run = worker._database.run

        async def stop_meanwhile(call: Any) -> Any:
            answer = await run(call)
            if "settle_and_poll" in call.sql:
                worker.stop()
            return answer

        monkeypatch.setattr(worker._database, "run", stop_meanwhile)
        await client.start(flow, list(range(6)))
        await asyncio.wait_for(worker.stopped(), 20)
    assert len(begun) == 2
    assert value(conn, "select count(*) from pgflow.step_tasks where status = 'completed'") == 2
    assert value(conn, "select count(*) from pgflow.step_tasks where status = 'queued' and attempts_count = 0") == 4


@pytest.mark.slow
async def test_a_worker_whose_database_does_not_answer_any_more_still_stops(
    dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    began = asyncio.Event()
    enough = asyncio.Event()

    async def handler(n: int, ctx: Context) -> Any:
        began.set()
        await enough.wait()
        return n if n == 0 else await ctx.load_input()

    flow = Flow("stuck")
    flow.map(slug="only", initial_tasks=2)(handler)
    with psycopg.connect(dsn) as blocker:
        async with Worker([flow], dsn=dsn, grace=0.5), AsyncClient(dsn) as client:
            await client.start(flow, None)
            await began.wait()
            blocker.execute("lock table pgflow.runs in access exclusive mode")
            enough.set()
        # a query that was cancelled ends when the server has answered: soon, but not within the block
        await aeventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert "2 results could not be stored" in caplog.text
    assert [task["status"] for task in tasks(conn, "only")] == ["started"] * 2


#: Handlers that ignore their cancellation, and a thread that never ends.
STUBBORN = """
    import asyncio, sys, threading
    from pgflow import Flow, Worker
    from pgflow.worker.leftovers import exit_past_threads

    flow = Flow("stopping", timeout=600)

    @flow.map
    async def handler(n: int) -> int:
        sys.stdout.write(f"begun {n}\\n")
        threading.Thread(target=threading.Event().wait).start()
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass

    sys.exit(exit_past_threads(Worker([flow], dsn=sys.argv[1], concurrency=2, grace=1).run()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silence", "refuse"])
async def test_the_process_ends_within_two_seconds_of_grace_whatever_the_database_does(
    dsn: str, tmp_path: Path, fault: str
) -> None:
    start(dsn)
    async with Proxy(dsn) as network:
        with process(tmp_path, STUBBORN, network.dsn) as running:
            await asyncio.to_thread(begun, running, 2)
            getattr(network, fault)()
            asked = time.monotonic()
            running.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.wait, 60) == 0
            took = time.monotonic() - asked
            assert running.stderr is not None
            said = running.stderr.read()
        await network.heal()
    assert "2 results could not be stored" in said
    assert took < 1 + 2 + 3  # of which 3 s are for the end of a process on a busy machine


@pytest.mark.slow
async def test_leaving_the_block_takes_no_longer_where_the_network_is_silent(dsn: str) -> None:
    began = asyncio.Event()

    async def handler() -> None:
        began.set()

    async with Proxy(dsn) as network:
        async with Worker([one_task_flow(handler)], dsn=network.dsn, grace=0.5), AsyncClient(dsn) as client:
            await client.start("solo", None)
            await began.wait()
            network.silence()
            asked = time.monotonic()
        assert time.monotonic() - asked < 0.5 + 2 + 3
        await network.heal()
        # what was left behind ends by itself, as soon as psycopg has given up
        await aeventually(lambda: not [t for t in asyncio.all_tasks() if "pgflow" in repr(t.get_coro())], within=40)


@pytest.mark.slow
def test_a_lifespan_that_never_closes_does_not_keep_the_process(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    closing = """
        import asyncio, contextlib, sys
        from pgflow import Flow, Worker

        flow = Flow("closing")
        flow.step(slug="only")(lambda: None)

        @contextlib.asynccontextmanager
        async def lifespan(worker):
            yield
            print("closing", flush=True)
            await asyncio.Event().wait()

        sys.exit(Worker([flow], dsn=sys.argv[1], lifespan=lifespan, grace=0).run(drain=True))
    """
    with process(tmp_path, closing, dsn) as running:
        said, log = running.communicate(timeout=60)
    assert (running.returncode, said) == (0, "closing\n")
    assert "the grace period and 2 s are over" in log
    assert value(conn, "select stopped_at is not null from pgflow.workers")


def test_run_works_until_it_is_stopped(dsn: str, tmp_path: Path, conn: psycopg.Connection) -> None:
    start(dsn)
    with process(tmp_path, APP, dsn, "instant", "20") as running:
        eventually(lambda: value(conn, "select status from pgflow.runs") == "completed")
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()
