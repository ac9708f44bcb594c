"""Workers whose handlers run in processes, and workers that are worn out."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, Worker
from pgflow.errors import ExecutorError
from tests.executors import flows
from tests.support import aeventually, eventually, value
from tests.worker.support import one_task_flow, process, tasks, work

#: A worker of `flows.watched` that says so when it works.
APP = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parents[2])!r})
    from tests.executors.flows import watched
    from pgflow import Worker

    if __name__ == "__main__":
        sys.exit(Worker([watched], dsn=sys.argv[1], handler_processes=2, grace=float(sys.argv[2])).run())
"""


def elements(directory: Path, *names: str) -> list[dict[str, str]]:
    return [{"directory": str(directory), "name": name} for name in names]


def let_go(directory: Path, *names: str) -> None:
    for name in names:
        (directory / f"go-{name}").touch()


def pids(directory: Path, *names: str) -> list[int]:
    """The processes of these tasks at their first attempt, once they have begun."""
    files = [directory / f"{name}-1" for name in names]
    eventually(lambda: all(file.exists() for file in files))
    return [int(file.read_text()) for file in files]


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # dead; nobody has asked how it ended


async def test_values_and_the_context_cross_to_the_process_and_back(dsn: str) -> None:
    run = await work(dsn, flows.local, {"x": 1, "y": 2})
    assert flows.where_it_ran(run) != os.getpid()


@pytest.mark.parametrize(
    ("how", "status", "message", "attempts"),
    [
        ("segfault", "completed", "ProcessDied: the process that ran the handler died (SIGSEGV)", 2),
        ("exit 0", "completed", "ProcessDied: the process that ran the handler died (exit code 0)", 2),
        ("odd", "completed", "Odd: 1 and 2", 2),
        ("retry after", "completed", "RetryAfter: later", 2),
        ("invalid", "completed", "InvalidInputError: the handler's own", 2),
        ("permanent", "failed", "Permanent: never", 1),
        ("no json", "failed", "InvalidInputError: the handler's result: not JSON: a value of type set is no JSON", 1),
    ],
)
async def test_how_a_handler_ends_is_how_its_task_goes_on(
    dsn: str, conn: psycopg.Connection, how: str, status: str, message: str, attempts: int
) -> None:
    run = await work(dsn, flows.ends, how, handler_processes=1)
    assert run.status == status
    (task,) = tasks(conn, "end")
    assert task["error_message"].startswith(message)
    assert task["attempts_count"] == attempts


async def test_an_input_that_does_not_fit_fails_for_good(dsn: str, conn: psycopg.Connection) -> None:
    run = await work(dsn, flows.local, {"x": "one"})
    assert run.error.startswith("InvalidInputError: parameter 'flow_input': x: ")
    assert tasks(conn, "point")[0]["attempts_count"] == 1


async def test_a_handler_is_killed_at_its_timeout(dsn: str, tmp_path: Path) -> None:
    run = await work(dsn, flows.deaf, str(tmp_path / "pid"), handler_processes=1)
    assert run.error == "HandlerTimeout: the handler did not end within its timeout of 1 s"
    assert is_gone(int((tmp_path / "pid").read_text()))


async def test_a_death_does_no_harm_to_neighbours_and_waiting_tasks(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    async with Worker([flows.watched], dsn=dsn, handler_processes=2), AsyncClient(dsn) as client:
        run = await client.start(flows.watched, elements(tmp_path, "a", "b", "c"))
        begun = lambda: sorted(tmp_path.glob("?-1"))  # noqa: E731
        await aeventually(lambda: len(begun()) == 2)
        killed, neighbour = begun()
        os.kill(int(killed.read_text()), signal.SIGKILL)
        let_go(tmp_path, killed.name[0])  # its second attempt must not keep the process from the third task
        await aeventually(lambda: len(begun()) == 3)
        let_go(tmp_path, "a", "b", "c")
        ended = await client.wait(run, timeout=30)
    assert ended.output["watch"]["abc".index(neighbour.name[0])] == int(neighbour.read_text())
    attempts = {name: task["attempts_count"] for name, task in zip("abc", tasks(conn, "watch"), strict=True)}
    assert attempts == {"a": 1, "b": 1, "c": 1} | {killed.name[0]: 2}


async def test_a_lost_lease_kills_the_handler(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    async with Worker([flows.watched], dsn=dsn, lease=1, handler_processes=1), AsyncClient(dsn) as client:
        await client.start(flows.watched, elements(tmp_path, "a"))
        await aeventually((tmp_path / "a-1").exists)
        (pid,) = pids(tmp_path, "a")
        conn.execute("update pgflow.step_tasks set fence = fence + 1, status = 'queued', leased_until = null")
        await aeventually(lambda: is_gone(pid))


def test_a_stop_lets_handlers_finish_also_when_the_whole_unit_is_signalled(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    with process(tmp_path, APP, dsn, "20") as running:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
        with Client(dsn) as client:
            client.start(flows.watched, elements(tmp_path, "a", "b"))
        begun = pids(tmp_path, "a", "b")
        for pid in (running.pid, *begun):  # as systemd does it
            os.kill(pid, signal.SIGTERM)
        assert running.stderr is not None
        assert "finishing what runs" in running.stderr.readline()
        let_go(tmp_path, "a", "b")
        assert running.wait(20) == 0
    assert [(t["status"], t["output"]) for t in tasks(conn, "watch")] == [("completed", pid) for pid in begun]
    assert all(is_gone(pid) for pid in begun)


def test_after_the_grace_period_handlers_are_killed_and_handed_back(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    with process(tmp_path, APP, dsn, "0") as running:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
        with Client(dsn) as client:
            client.start(flows.watched, elements(tmp_path, "a"))
        (pid,) = pids(tmp_path, "a")
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert is_gone(pid)
    assert [(t["status"], t["attempts_count"]) for t in tasks(conn, "watch")] == [("queued", 0)]


def test_no_process_survives_a_worker_that_is_killed(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    with process(tmp_path, APP, dsn, "0") as running:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
        with Client(dsn) as client:
            client.start(flows.watched, elements(tmp_path, "a", "b"))
        begun = pids(tmp_path, "a", "b")
        running.kill()
        running.wait(20)
    eventually(lambda: all(is_gone(pid) for pid in begun))


async def test_a_flow_that_no_process_could_find_is_refused_before_any_io() -> None:
    flow = one_task_flow(lambda: 1, executor="process")
    with pytest.raises(ExecutorError, match="assign it to a global name of a module"):
        Worker([flow], dsn="postgresql://127.0.0.1:1/nowhere")


def test_where_a_handler_runs_is_no_business_of_the_database() -> None:
    one, other = Flow("same"), Flow("same")
    one.step(slug="only")(lambda: 1)
    other.step(slug="only", executor="process")(lambda: 1)
    assert (one.shape(), one.sql()) == (other.shape(), other.sql())


# ---------------------------------------------------------------------------------------- worn out

WORN = """
    import sys, threading
    from pgflow import Flow, Worker

    flow = Flow("worn", timeout=1, max_attempts=1)

    @flow.map
    def handler(n: int) -> int:
        if n < 2:
            threading.Event().wait()
        return n

    sys.exit(Worker([flow], dsn=sys.argv[1], concurrency=4, grace=20).run())
"""


def start_worn(dsn: str, *elements: int) -> None:
    flow: Flow[Any, Any] = Flow("worn", timeout=1, max_attempts=1)
    flow.map(slug="handler")(lambda n: n)
    with Client(dsn) as client:
        client.start_many(flow, [[n] for n in elements])


def test_a_worker_that_lost_half_of_its_slots_ends_with_a_status_of_its_own(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    start_worn(dsn, 0, 1, 2)
    with process(tmp_path, WORN, dsn) as running:
        assert running.wait(30) == 4
        assert running.stderr is not None
        assert "half of the slots are held by handlers that overran their timeout" in running.stderr.read()
    assert [t["status"] for t in sorted(tasks(conn, "handler"), key=lambda t: json.dumps(t["input"]))] == [
        "failed",
        "failed",
        "completed",
    ]
    assert value(conn, "select stopped_at is not null from pgflow.workers")


def test_a_worker_that_lost_fewer_goes_on(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    start_worn(dsn, 0)
    with process(tmp_path, WORN, dsn) as running:
        eventually(lambda: value(conn, "select count(*) from pgflow.runs where status = 'failed'") == 1)
        start_worn(dsn, 3)
        eventually(lambda: value(conn, "select count(*) from pgflow.runs where status = 'completed'") == 1)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
