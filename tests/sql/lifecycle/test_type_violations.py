"""A single step that feeds a map must output an array; anything else ends its run."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.flows import (
    archived,
    complete,
    create_flow,
    poll_and_start,
    queued,
    run_row,
    run_status,
    start,
    step,
    step_row,
    step_status,
    task_row,
    task_status,
)
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, payload, sent
from tests.support import value

NO_ARRAYS = [
    ({"a": 1}, "object"),
    ("text", "string"),
    (7, "number"),
    (True, "boolean"),
    (Jsonb(None), "null"),
    (None, "null"),
]


def started(conn: psycopg.Connection, **options: Any) -> uuid.UUID:
    """A run whose single step `list` is being worked on and feeds the map `each`."""
    create_flow(conn, "flow", step("list", **options), step("each", "list", step_type="map"), "other")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    return run_id


@pytest.mark.parametrize(("output", "kind"), NO_ARRAYS)
def test_an_output_that_is_no_array_fails_task_step_and_run(conn: psycopg.Connection, output: Any, kind: str) -> None:
    run_id = started(conn)
    row = complete(conn, run_id, "list", output)
    assert row == task_row(conn, run_id, "list")
    assert (row["status"], row["error_message"]) == ("failed", f"[TYPE_VIOLATION] Produced {kind} instead of array")
    assert row["output"] == (output.obj if isinstance(output, Jsonb) else output)
    assert (row["failed_at"] is not None, row["completed_at"]) == (True, None)
    state = step_row(conn, run_id, "list")
    assert (state["status"], state["error_message"]) == (
        "failed",
        f"[TYPE_VIOLATION] Map step each expects array input but dependency list produced {kind}",
    )
    assert run_status(conn, run_id) == "failed"


def test_json_null_is_kept_apart_from_sql_null(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    complete(conn, run_id, "list", Jsonb(None))
    assert value(conn, "select output = 'null' from pgflow.step_tasks where run_id = %s and step_slug = 'list'", run_id)


def test_all_messages_of_the_run_are_archived_and_its_other_rows_left(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    complete(conn, run_id, "list", 7)
    assert queued(conn, "flow") == []
    assert sorted(archived(conn, "flow")) == [("list", 0), ("other", 0)]
    assert step_status(conn, run_id) == {"list": "failed", "each": "created", "other": "started"}
    assert task_status(conn, run_id, "other") == ["started"]


def test_dependents_stay_as_they_are(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    before = step_row(conn, run_id, "each")
    complete(conn, run_id, "list", 7)
    assert step_row(conn, run_id, "each") == before
    assert (before["remaining_deps"], before["initial_tasks"]) == (1, None)


@pytest.mark.parametrize("when_exhausted", ["fail", "skip", "skip-cascade"])
def test_there_is_neither_retry_nor_skip(conn: psycopg.Connection, when_exhausted: str) -> None:
    run_id = started(conn, max_attempts=5, when_exhausted=when_exhausted)
    complete(conn, run_id, "list", 7)
    assert task_row(conn, run_id, "list")["attempts_count"] == 1
    assert (step_status(conn, run_id)["list"], run_status(conn, run_id)) == ("failed", "failed")


def test_an_array_is_no_violation_even_when_empty(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    complete(conn, run_id, "list", [])
    assert step_status(conn, run_id) == {"list": "completed", "each": "completed", "other": "started"}


def test_the_elements_of_an_array_may_be_anything(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    complete(conn, run_id, "list", [1, None, "x", []])
    assert [t.input for t in poll_and_start(conn, "flow")] == [1, None, "x", []]


@pytest.mark.parametrize("output", [7, None])
def test_a_step_that_feeds_no_map_may_output_anything(conn: psycopg.Connection, output: Any) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", output)
    assert step_status(conn, run_id) == {"a": "completed", "b": "started"}


def test_the_tasks_of_a_map_that_feeds_a_map_may_output_anything(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", "m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    complete(conn, run_id, "m", 7, task_index=0)
    complete(conn, run_id, "m", None, task_index=1)
    assert [t.input for t in poll_and_start(conn, "flow")] == [7, None]


def test_a_map_whose_length_is_known_already_expects_nothing(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    conn.execute("update pgflow.step_states set initial_tasks = 0 where step_slug = 'each'")
    complete(conn, run_id, "list", 7)
    assert step_status(conn, run_id) == {"list": "completed", "each": "completed", "other": "started"}


def test_the_error_names_a_map_that_waits(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "list", step("b", "list", step_type="map"), step("a", "list", step_type="map"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute("update pgflow.step_states set initial_tasks = 0 where step_slug = 'b'")
    complete(conn, run_id, "list", 7)
    assert "Map step a expects" in step_row(conn, run_id, "list")["error_message"]


def test_it_is_told_by_run_failed_without_an_error_then_step_failed(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    run_id = started(conn)
    forget_events(conn)
    complete(conn, run_id, "list", 7)
    assert sent(conn) == ["run:failed", "step:list:failed"]
    assert "error_message" not in payload(conn, "run:failed")
    assert payload(conn, "step:list:failed")["error_message"] == step_row(conn, run_id, "list")["error_message"]


def test_a_second_call_changes_nothing_and_returns_the_row(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    first = complete(conn, run_id, "list", 7)
    before = run_row(conn, run_id), step_row(conn, run_id, "list")
    assert complete(conn, run_id, "list", [1]) == first
    assert (run_row(conn, run_id), step_row(conn, run_id, "list")) == before
