"""A worker that comes back after its step or run has ended changes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.flows import (
    archived,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    run_row,
    start,
    step,
    step_row,
    step_status,
    task_row,
)
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, sent
from tests.support import rows

BOTH = [complete, fail]
Callback = Callable[..., dict[str, Any]]


def snapshot(conn: psycopg.Connection) -> list[Any]:
    """Everything a callback may touch."""
    tables = ("runs", "step_states", "step_tasks")
    return [rows(conn, f"select to_jsonb(t) from pgflow.{table} t order by t::text") for table in tables]


def failed_run(conn: psycopg.Connection) -> uuid.UUID:
    """A run that failed by `bad` while `late` was being worked on."""
    create_flow(conn, "flow", step("bad", max_attempts=1), "late", step("after", "late"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "bad")
    return run_id


def skipped_map(conn: psycopg.Connection, when_exhausted: str = "skip") -> uuid.UUID:
    """A run whose map `m` was skipped by its task 0 while task 1 was being worked on."""
    create_flow(
        conn, "flow", step("m", step_type="map", max_attempts=1, when_exhausted=when_exhausted), step("after", "m"), "b"
    )
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    fail(conn, run_id, "m")
    return run_id


def test_completing_under_a_failed_run_changes_nothing(conn: psycopg.Connection) -> None:
    run_id = failed_run(conn)
    before = snapshot(conn)
    assert complete(conn, run_id, "late", 1)["status"] == "started"
    assert snapshot(conn) == before


def test_failing_under_a_failed_run_fails_the_started_task_alone(conn: psycopg.Connection) -> None:
    run_id = failed_run(conn)
    before = run_row(conn, run_id), step_row(conn, run_id, "late")
    row = fail(conn, run_id, "late", "too late")
    assert (row["status"], row["error_message"], row["failed_at"] is not None) == ("failed", "too late", True)
    assert (run_row(conn, run_id), step_row(conn, run_id, "late")) == before


def test_failing_under_a_failed_run_archives_the_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
    fail(conn, run_id, "a")
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("a", 0)])


def test_completing_under_a_failed_run_leaves_even_the_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
    complete(conn, run_id, "a", 1)
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([("a", 0)], [])


def test_a_queued_task_under_a_failed_run_is_not_failed(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("bad", max_attempts=1), step("later", start_delay=60))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "bad")
    assert fail(conn, run_id, "later")["status"] == "queued"


@pytest.mark.parametrize("late", BOTH)
@pytest.mark.parametrize("when_exhausted", ["skip", "skip-cascade"])
def test_a_sibling_of_a_skipped_step_comes_too_late(
    conn: psycopg.Connection, late: Callback, when_exhausted: str
) -> None:
    add_realtime(conn)
    run_id = skipped_map(conn, when_exhausted)
    before = snapshot(conn)
    forget_events(conn)
    assert late(conn, run_id, "m", task_index=1)["status"] == "started"
    assert snapshot(conn) == before
    assert sent(conn) == []


@pytest.mark.parametrize("late", BOTH)
def test_the_message_of_a_late_task_is_archived(conn: psycopg.Connection, late: Callback) -> None:
    create_flow(conn, "flow", "a", "b")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute(
        """update pgflow.step_states set status = 'skipped', skip_reason = 'by hand', remaining_tasks = null
            where step_slug = 'a'"""
    )
    late(conn, run_id, "a")
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([("b", 0)], [("a", 0)])


@pytest.mark.parametrize("late", BOTH)
def test_a_late_output_starts_no_dependents_again(conn: psycopg.Connection, late: Callback) -> None:
    run_id = skipped_map(conn)
    assert step_status(conn, run_id)["after"] == "started"
    late(conn, run_id, "m", task_index=1)
    assert queued(conn, "flow").count(("after", 0)) == 1


@pytest.mark.parametrize("late", BOTH)
def test_a_completed_task_stays_as_it_is(conn: psycopg.Connection, late: Callback) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", step("m", step_type="map"), step("after", "m"))
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    complete(conn, run_id, "m", "first")
    before = snapshot(conn)
    forget_events(conn)
    assert late(conn, run_id, "m", "second")["output"] == "first"
    assert (snapshot(conn), sent(conn)) == (before, [])


@pytest.mark.parametrize("late", BOTH)
def test_a_completed_run_stays_as_it_is(conn: psycopg.Connection, late: Callback) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    before = snapshot(conn)
    forget_events(conn)
    assert late(conn, run_id, "a", "again")["output"] == 1
    assert (snapshot(conn), sent(conn)) == (before, [])


@pytest.mark.parametrize("late", BOTH)
def test_a_task_that_was_put_back_is_neither_completed_nor_failed(conn: psycopg.Connection, late: Callback) -> None:
    create_flow(conn, "flow", step("a", base_delay=60))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a", "first")
    before = snapshot(conn)
    assert late(conn, run_id, "a", "late")["status"] == "queued"
    assert snapshot(conn) == before
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([("a", 0)], [])


@pytest.mark.parametrize("late", BOTH)
def test_a_late_call_needs_no_message(conn: psycopg.Connection, late: Callback) -> None:
    run_id = skipped_map(conn)
    conn.execute("update pgflow.step_tasks set message_id = null where task_index = 1")
    before = task_row(conn, run_id, "m", 1)
    assert late(conn, run_id, "m", task_index=1) == before
