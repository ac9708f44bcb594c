"""Handlers that block the event loop: who says so, what ends the process, and where that must not be."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, Worker
from tests.cli.conftest import spawn
from tests.support import aeventually, eventually, rows, value
from tests.worker.support import one_task_flow, process, tasks
from tests.worker.test_processes import is_gone

#: Element 0 blocks the loop, by `how`.
APP = """
    import hashlib, sys, time
    from pgflow import Flow, Worker

    dsn, how, grace = sys.argv[1:]
    flow = Flow("blocked", timeout={timeout}, base_delay=0)

    @flow.map
    async def handler(n: int) -> int:
        sys.stdout.write(f"begun {{n}}\\n")
        if n == 0:
            eval(how)
        return n

    if __name__ == "__main__":
        sys.exit(Worker([flow], dsn=dsn, concurrency=2, lease=1, grace=float(grace)).run())
"""
#: In the second the interpreter's lock is free, but no Python code can run in the main thread.
SLEEP = "time.sleep(600)"
COMPUTE = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"


def start(dsn: str, elements: list[int], *, timeout: int) -> None:
    flow = Flow("blocked", timeout=timeout, base_delay=0)
    flow.map(slug="handler")(lambda n: n)
    with Client(dsn) as client:
        client.start(flow, elements)


@pytest.mark.slow
async def test_a_handler_that_blocks_past_its_timeout_costs_its_worker_and_nobody_else(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    start(dsn, [0, 1], timeout=1)
    with process(tmp_path, APP.format(timeout=1), dsn, SLEEP, "20") as running:
        said, log = await asyncio.to_thread(running.communicate, timeout=60)
    assert running.returncode == 4
    assert "begun 0" in said
    assert "blocked.handler[0] of run" in log
    assert "blocks the event loop" in log
    assert "in handler" in log  # its stack
    assert "exiting, start me anew" in log

    flow = Flow("blocked", timeout=1, base_delay=0)

    @flow.map
    async def handler(n: int) -> int:
        return n

    async with Worker([flow], dsn=dsn, lease=1):
        await aeventually(lambda: value(conn, "select status from pgflow.runs") == "completed")


@pytest.mark.slow
@pytest.mark.parametrize("how", [SLEEP, COMPUTE])
def test_a_signal_ends_a_worker_whose_loop_is_blocked(dsn: str, tmp_path: Path, how: str) -> None:
    start(dsn, [0], timeout=600)
    with process(tmp_path, APP.format(timeout=600), dsn, how, "0.5") as running:
        assert running.stdout is not None
        running.stdout.readline()
        asked = time.monotonic()
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        assert time.monotonic() - asked < 0.5 + 2 + 3
        assert running.stderr is not None
        assert "the grace period and 2 s are over" in running.stderr.read()


def test_a_second_signal_ends_it_at_once(dsn: str, tmp_path: Path) -> None:
    start(dsn, [0], timeout=600)
    with process(tmp_path, APP.format(timeout=600), dsn, COMPUTE, "600") as running:
        assert running.stdout is not None
        running.stdout.readline()
        while running.poll() is None:  # two that come as one are one
            running.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert running.returncode == 130


@pytest.mark.slow
def test_children_whose_loop_is_blocked_follow_their_parent(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    start(dsn, [0], timeout=600)
    source = APP.replace("dsn, how, grace = sys.argv[1:]", f"how = {SLEEP!r}").format(timeout=600)
    (tmp_path / "app.py").write_text("\n".join(line[4:] for line in source.splitlines()))
    command = ("worker", "app", "--processes", "2", "--grace", "0.5")
    with spawn(*command, cwd=tmp_path, PGFLOW_DATABASE_URL=dsn) as parent:
        try:
            assert parent.stdout.readline() == "begun 0\n"
            eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 2)
            names = rows(conn, "select function_name from pgflow.workers")
            asked = time.monotonic()
            parent.send_signal(signal.SIGTERM)
            assert parent.wait(60) == 0
            assert time.monotonic() - asked < 0.5 + 2 + 3
        finally:
            parent.kill()
    children = [int(name.rpartition(":")[2]) for (name,) in names]
    assert all(is_gone(pid) for pid in children)


@pytest.mark.slow
async def test_inside_somebody_elses_program_it_is_only_said_and_the_lease_ends_in_time(
    dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    async def blocking() -> None:
        if not seen:
            time.sleep(8)  # noqa: ASYNC251  # the fault in question
            seen.append(value(conn, "select leased_until <= started_at + interval '3 s' from pgflow.step_tasks"))

    flow = one_task_flow(blocking, timeout=1)
    async with Worker([flow], dsn=dsn, lease=1), AsyncClient(dsn) as client:
        await client.start(flow, None)
        await aeventually(lambda: tasks(conn, "only")[0]["status"] == "completed")
    assert seen == [True]
    assert "the handler of solo.only[0] of run" in caplog.text
    assert "blocks the event loop" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "pgflow-watch"]
