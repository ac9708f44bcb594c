"""Flows, runs and a foreign worker in plain SQL: what the SQL tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types.json import Jsonb

from tests.support import rows, value

Row = dict[str, Any]


class Step(NamedTuple):
    """Arguments of add_step."""

    slug: str
    deps: tuple[str, ...]
    options: dict[str, Any]


def step(slug: str, *deps: str, **options: Any) -> Step:
    """A step for create_flow; options are add_step's parameters, `step("b", "a", step_type="map")`."""
    return Step(slug, deps, options)


def create_flow(conn: psycopg.Connection, slug: str, *steps: str | Step, **options: Any) -> None:
    """Stores a flow: `create_flow(conn, "flow", "a", step("b", "a"), max_attempts=1)`."""
    call(conn, "create_flow", flow_slug=slug, **options)
    for s in steps:
        each = step(s) if isinstance(s, str) else s
        call(conn, "add_step", flow_slug=slug, step_slug=each.slug, deps_slugs=list(each.deps), **each.options)


def call(conn: psycopg.Connection, function: str, **arguments: Any) -> list[Row]:
    """The rows of pgflow.<function>, called with named arguments; a dict is sent as jsonb."""
    names = ", ".join(f"{name} => %({name})s" for name in arguments)
    sent = {name: Jsonb(a) if isinstance(a, dict) else a for name, a in arguments.items()}
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"select * from pgflow.{function}({names})", sent).fetchall()


def as_jsonb(data: Any) -> Jsonb | None:
    """None is SQL null, `Jsonb(None)` JSON's; anything else is sent as JSON."""
    return data if data is None or isinstance(data, Jsonb) else Jsonb(data)


def start(conn: psycopg.Connection, slug: str, input: Any = {}, run_id: uuid.UUID | None = None) -> uuid.UUID:  # noqa: B006
    """Starts a run and returns its id."""
    found: uuid.UUID = call(conn, "start_flow", flow_slug=slug, input=as_jsonb(input), run_id=run_id)[0]["run_id"]
    return found


def add_worker(conn: psycopg.Connection, slug: str, worker_id: uuid.UUID | None = None) -> uuid.UUID:
    """Registers a worker as other implementations do: by inserting its row."""
    worker_id = worker_id or uuid.uuid4()
    conn.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, %s, %s)",
        (worker_id, slug, slug),
    )
    return worker_id


def poll_and_start(
    conn: psycopg.Connection, slug: str, worker_id: uuid.UUID | None = None, qty: int = 100
) -> list[Any]:
    """Reads visible messages and starts their tasks, as other implementations' workers do: step_task_records."""
    worker_id = worker_id or add_worker(conn, slug)
    read = [m for (m,) in rows(conn, "select msg_id from pgmq.read(%s, 30, %s)", slug, qty)]
    return start_tasks(conn, slug, read, worker_id)


def start_tasks(conn: psycopg.Connection, slug: str, msg_ids: list[int], worker_id: uuid.UUID) -> list[Any]:
    """The step_task_records of pgflow.start_tasks, by step and index."""
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(
            "select * from pgflow.start_tasks(%s, %s::bigint[], %s) order by step_slug, task_index",
            (slug, msg_ids, worker_id),
        ).fetchall()


def complete(conn: psycopg.Connection, run_id: uuid.UUID, slug: str, output: Any = None, task_index: int = 0) -> Row:
    """Completes a task; the row it then has."""
    return call(conn, "complete_task", run_id=run_id, step_slug=slug, task_index=task_index, output=as_jsonb(output))[0]


def fail(conn: psycopg.Connection, run_id: uuid.UUID, slug: str, error: str = "boom", task_index: int = 0) -> Row:
    """Fails a task; the row it then has."""
    return call(conn, "fail_task", run_id=run_id, step_slug=slug, task_index=task_index, error_message=error)[0]


def run_row(conn: psycopg.Connection, run_id: uuid.UUID) -> Row:
    """The run."""
    return _row(conn, "select * from pgflow.runs where run_id = %s", run_id)


def step_row(conn: psycopg.Connection, run_id: uuid.UUID, slug: str) -> Row:
    """The step state."""
    return _row(conn, "select * from pgflow.step_states where run_id = %s and step_slug = %s", run_id, slug)


def task_row(conn: psycopg.Connection, run_id: uuid.UUID, slug: str, task_index: int = 0) -> Row:
    """The task."""
    return _row(
        conn,
        "select * from pgflow.step_tasks where run_id = %s and step_slug = %s and task_index = %s",
        run_id,
        slug,
        task_index,
    )


def run_status(conn: psycopg.Connection, run_id: uuid.UUID) -> str:
    """The run's status."""
    return str(run_row(conn, run_id)["status"])


def step_status(conn: psycopg.Connection, run_id: uuid.UUID) -> dict[str, str]:
    """The status of each of a run's steps."""
    return dict(rows(conn, "select step_slug, status from pgflow.step_states where run_id = %s", run_id))


def task_status(conn: psycopg.Connection, run_id: uuid.UUID, slug: str) -> list[str]:
    """The statuses of a step's tasks, by index."""
    sql = "select status from pgflow.step_tasks where run_id = %s and step_slug = %s order by task_index"
    return [status for (status,) in rows(conn, sql, run_id, slug)]


def queued(conn: psycopg.Connection, slug: str) -> list[tuple[str, int]]:
    """(step, index) of each message in the flow's queue, visible or not, in the order of msg_id."""
    return _messages(conn, f"q_{slug.lower()}")


def archived(conn: psycopg.Connection, slug: str) -> list[tuple[str, int]]:
    """(step, index) of each archived message of the flow, in the order of msg_id."""
    return _messages(conn, f"a_{slug.lower()}")


def visible_in(conn: psycopg.Connection, slug: str, msg_id: int) -> float:
    """Seconds until a message is visible; negative: it has been for so long."""
    sql = f"select extract(epoch from vt - clock_timestamp()) from pgmq.q_{slug.lower()} where msg_id = %s"
    return float(value(conn, sql, msg_id))


def make_visible(conn: psycopg.Connection, slug: str) -> None:
    """Ends all delays of a flow's messages."""
    conn.execute(f"update pgmq.q_{slug.lower()} set vt = clock_timestamp() - interval '1 second'")


@contextmanager
def violates(constraint: str) -> Iterator[None]:
    """What is inside must fail by the constraint of this name."""
    with pytest.raises(psycopg.errors.IntegrityError) as raised:
        yield
    assert raised.value.diag.constraint_name == constraint


@contextmanager
def raises(message: str, sqlstate: str = "P0001") -> Iterator[None]:
    """What is inside must fail with exactly this message."""
    with pytest.raises(psycopg.Error) as raised:
        yield
    assert (raised.value.diag.message_primary, raised.value.sqlstate) == (message, sqlstate)


def _messages(conn: psycopg.Connection, table: str) -> list[tuple[str, int]]:
    sql = f"select message ->> 'step_slug', (message ->> 'task_index')::int from pgmq.{table} order by msg_id"
    return rows(conn, sql)


def _row(conn: psycopg.Connection, sql: str, *args: Any) -> Row:
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(sql, args).fetchone()
    assert found is not None, f"no row: {sql}"
    return found
