"""A worker ends on time, whatever its handlers left behind."""

from __future__ import annotations

import signal

import psycopg
import pytest

from pgflow import Client
from tests.cli.conftest import spawn
from tests.support import eventually, value

LEFT = {
    "a thread that is no daemon": (
        "async def",
        "threading.Thread(target=threading.Event().wait, name='forgotten').start()",
    ),
    "asyncio.to_thread": ("async def", "await asyncio.to_thread(threading.Event().wait)"),
    "a task that ignores its cancellation": ("async def", "tasks.append(asyncio.create_task(deaf()))"),
}
APP = """
import asyncio, threading
from pgflow import Flow

tasks = []

async def deaf():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

flow = Flow("leaving", timeout=600)

@flow.step
{kind} only() -> str:
    print("begun", flush=True)
    {what}
    return "done"
"""


@pytest.mark.slow
@pytest.mark.parametrize("left", LEFT)
def test_the_process_ends(dsn, tmp_path, conn: psycopg.Connection, left: str) -> None:
    kind, what = LEFT[left]
    (tmp_path / "app.py").write_text(APP.format(kind=kind, what=what))
    worker = spawn("worker", "app", "--grace", "0.5", cwd=tmp_path, PGFLOW_DATABASE_URL=dsn)
    try:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
        with Client(dsn) as client:
            client.start("leaving", None)
        assert worker.stdout.readline() == "begun\n"
        if "to_thread" not in what:
            eventually(lambda: value(conn, "select status from pgflow.runs") == "completed")
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, log
    assert value(conn, "select stopped_at is not null from pgflow.workers")
    if "to_thread" in what:
        assert value(conn, "select (status, attempts_count)::text from pgflow.step_tasks") == "(queued,0)"
    if "no daemon" in left:
        assert "exiting in spite of threads that handlers left behind: forgotten" in log
