"""workers and worker_functions: rows that workers of any implementation keep."""

from __future__ import annotations

import uuid
from datetime import timedelta

import psycopg
import pytest

from tests.sql.flows import Row, add_worker, call, create_flow, poll_and_start, start, task_row
from tests.support import rows, value


def function_row(conn: psycopg.Connection, name: str) -> Row:
    data: Row = value(conn, "select to_jsonb(f) from pgflow.worker_functions f where function_name = %s", name)
    return data


def test_a_workers_row_needs_only_its_id_queue_and_function(conn: psycopg.Connection) -> None:
    add_worker(conn, "flow")
    found = rows(
        conn,
        """select started_at is not null, last_heartbeat_at is not null, deprecated_at, stopped_at
             from pgflow.workers""",
    )
    assert found == [(True, True, None, None)]


def test_mark_worker_stopped_sets_the_time_of_that_worker_alone(conn: psycopg.Connection) -> None:
    worker_id, other = add_worker(conn, "flow"), add_worker(conn, "flow")
    call(conn, "mark_worker_stopped", worker_id=worker_id)
    assert rows(conn, "select worker_id from pgflow.workers where stopped_at is not null") == [(worker_id,)]
    assert value(conn, "select stopped_at is null from pgflow.workers where worker_id = %s", other)


def test_mark_worker_stopped_takes_the_clocks_time(conn: psycopg.Connection) -> None:
    worker_id = add_worker(conn, "flow")
    with conn.transaction():
        conn.execute("select now()")
        call(conn, "mark_worker_stopped", worker_id=worker_id)
        assert value(conn, "select stopped_at > now() from pgflow.workers")


def test_marking_an_unknown_worker_changes_nothing(conn: psycopg.Connection) -> None:
    add_worker(conn, "flow")
    call(conn, "mark_worker_stopped", worker_id=uuid.uuid4())
    assert value(conn, "select count(*) from pgflow.workers where stopped_at is null") == 1


def test_deleting_workers_succeeds_while_tasks_name_them(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow", add_worker(conn, "flow"))
    conn.execute("delete from pgflow.workers")
    assert task_row(conn, run_id, "a")["status"] == "started"


def test_track_worker_function_notes_a_function_with_its_defaults(conn: psycopg.Connection) -> None:
    call(conn, "track_worker_function", function_name="my-worker/any text")
    row = function_row(conn, "my-worker/any text")
    assert (row["enabled"], row["last_invoked_at"]) == (True, None)
    assert value(conn, "select debounce from pgflow.worker_functions") == timedelta(seconds=6)


def test_track_worker_function_leaves_all_but_updated_at(conn: psycopg.Connection) -> None:
    call(conn, "track_worker_function", function_name="f")
    conn.execute(
        """update pgflow.worker_functions set enabled = false, debounce = '1 minute',
             last_invoked_at = '2020-01-01', updated_at = '2020-01-01', created_at = '2020-01-01'"""
    )
    before = function_row(conn, "f")
    call(conn, "track_worker_function", function_name="f")
    after = function_row(conn, "f")
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before


def test_updated_at_is_the_clocks_time_on_insert_and_update(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute("select now()")
        for _ in range(2):
            call(conn, "track_worker_function", function_name="f")
            assert value(conn, "select updated_at > now() from pgflow.worker_functions")
            conn.execute("update pgflow.worker_functions set updated_at = '2020-01-01'")


def test_a_debounce_under_a_second_is_refused(conn: psycopg.Connection) -> None:
    conn.execute("insert into pgflow.worker_functions (function_name, debounce) values ('f', '1 second')")
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("update pgflow.worker_functions set debounce = '999 milliseconds'")
