"""A worker of ours in Python: polls, settles and extends through pgflow.calls, on any connection."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg

from pgflow import calls
from pgflow.db.address import prepare
from pgflow.records import Outcome, Polled, Task, TaskKey, Verdict
from tests.support import eventually, value

T = TypeVar("T")

#: What was notified since the last call: (channel, payload), sorted.
Heard = Callable[[], list[tuple[str, str]]]

#: Seconds; short, because for one lease after the server's start nothing is judged lapsed.
LEASE = 2


def run(conn: psycopg.Connection, call: calls.Call[T]) -> T:
    """Runs a Call on a connection of the test's own, as pgflow.db does on its own."""
    with conn.cursor() as cursor:
        prepare(cursor)
        return call.decode(cursor.execute(call.sql, call.args).fetchall())


def add_our_worker(conn: psycopg.Connection, slug: str = "flow", lease: int = LEASE) -> uuid.UUID:
    """Registers a worker that leases its tasks."""
    worker_id = uuid.uuid4()
    run(conn, calls.register_worker(worker_id, slug, "tests", lease=lease))
    return worker_id


def poll_all(
    conn: psycopg.Connection, worker_id: uuid.UUID, *slugs: str, qty: int = 1000, lease: int = LEASE
) -> Polled:
    """What a poll of these flows ("flow" if none is named) brings."""
    return run(conn, calls.poll_tasks(slugs or ("flow",), worker_id, qty=qty, lease=lease))


def poll(
    conn: psycopg.Connection, worker_id: uuid.UUID, *slugs: str, qty: int = 1000, lease: int = LEASE
) -> list[Task]:
    """The tasks that a poll brings, by step and index."""
    tasks = poll_all(conn, worker_id, *slugs, qty=qty, lease=lease).tasks
    return sorted(tasks, key=lambda t: (t.flow_slug, t.run_id, t.step_slug, t.task_index))


def poll_one(conn: psycopg.Connection, worker_id: uuid.UUID, *slugs: str, lease: int = LEASE) -> Task:
    """The only task there is to poll."""
    (task,) = poll(conn, worker_id, *slugs, lease=lease)
    return task


def settle(conn: psycopg.Connection, worker_id: uuid.UUID, *outcomes: Outcome) -> list[Verdict]:
    """The verdicts on these outcomes, sent in one call."""
    return run(conn, calls.settle_tasks(worker_id, outcomes))


def settle_and_go_on(
    conn: psycopg.Connection,
    worker_id: uuid.UUID,
    *outcomes: Outcome,
    slugs: Sequence[str] = ("flow",),
    qty: int = 1000,
    lease: int = LEASE,
) -> tuple[list[Verdict], Polled]:
    """The verdicts on these outcomes, and the tasks that follow from them."""
    return run(conn, calls.settle_and_poll(worker_id, outcomes, slugs, qty=qty, lease=lease, only_follow_ups=True))


def extend(conn: psycopg.Connection, worker_id: uuid.UUID, *held: TaskKey, lease: int = LEASE) -> list[TaskKey]:
    """Those of these tasks that are no longer the worker's."""
    return run(conn, calls.extend_leases(worker_id, held, lease=lease))


def fail_stalled(conn: psycopg.Connection) -> int:
    """How many tasks that stalled too often were failed; a worker does it among others, by `calls.maintain`."""
    return int(value(conn, "select pgflow.fail_stalled_tasks()"))


def completed(task: Task, output: Any = None) -> Outcome:
    """The task's handler returned."""
    return Outcome.completed(task.key, json.dumps(output).encode())


def failed(task: Task, error: str = "boom", **options: Any) -> Outcome:
    """The task's handler raised."""
    return Outcome.failed(task.key, error, **options)


def released(task: Task) -> Outcome:
    """The task is handed back."""
    return Outcome.released(task.key)


def inputs(tasks: list[Task]) -> list[Any]:
    """The tasks' inputs."""
    return [json.loads(t.input) for t in tasks]


def end_leases(conn: psycopg.Connection) -> None:
    """All leases have just passed; the messages stay hidden."""
    wait_for_server_grace(conn)
    conn.execute(
        "update pgflow.step_tasks set leased_until = clock_timestamp() - interval '1 ms' where leased_until is not null"
    )


def lapse(conn: psycopg.Connection, *slugs: str) -> None:
    """All leases have just passed and, as happens with time, the messages are visible again."""
    end_leases(conn)
    for slug in slugs or ("flow",):
        conn.execute(f"update pgmq.q_{slug.lower()} set vt = clock_timestamp() - interval '1 ms'")


def backdate_start(conn: psycopg.Connection, seconds: float) -> None:
    """All started tasks, and what came before, began so long ago."""
    for column in ("queued_at", "started_at"):
        conn.execute(
            f"update pgflow.step_tasks set {column} = {column} - make_interval(secs => %s) where status = 'started'",
            (seconds,),
        )


def silence(conn: psycopg.Connection, seconds: float, *worker_ids: uuid.UUID) -> None:
    """These workers (all, if none is named) were last heard of so long ago."""
    conn.execute(
        "update pgflow.workers set last_heartbeat_at = clock_timestamp() - make_interval(secs => %s) "
        "where %s::uuid[] = '{}' or worker_id = any (%s::uuid[])",
        (seconds, list(worker_ids), list(worker_ids)),
    )


def wait_for_server_grace(conn: psycopg.Connection, lease: int = LEASE) -> None:
    """For one lease after the server's start nothing is judged lapsed."""
    sql = "select pg_postmaster_start_time() + make_interval(secs => %s) < clock_timestamp()"
    eventually(lambda: value(conn, sql, lease))
