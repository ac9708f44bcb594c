"""What becomes of a step whose task has failed for good: when_exhausted."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.flows import (
    Step,
    archived,
    complete,
    create_flow,
    fail,
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

SKIPPING = ["skip", "skip-cascade"]
ALL = ["fail", *SKIPPING]


def exhausting(slug: str, *deps: str, when_exhausted: str, **options: Any) -> Step:
    """A step whose first failure is its last."""
    return step(slug, *deps, when_exhausted=when_exhausted, max_attempts=1, **options)


def run_and_fail(conn: psycopg.Connection, *steps: str | Step, data: Any = {}) -> uuid.UUID:  # noqa: B006
    """A run of a flow of these steps, whose step `bad` has started and then failed with task 0."""
    create_flow(conn, "flow", *steps)
    run_id = start(conn, "flow", data)
    poll_and_start(conn, "flow")
    fail(conn, run_id, "bad")
    return run_id


@pytest.mark.parametrize("when_exhausted", ALL)
def test_the_task_is_failed_and_its_message_archived(conn: psycopg.Connection, when_exhausted: str) -> None:
    run_id = run_and_fail(conn, exhausting("bad", when_exhausted=when_exhausted))
    task = task_row(conn, run_id, "bad")
    assert (task["status"], task["error_message"], task["completed_at"]) == ("failed", "boom", None)
    assert task["failed_at"] >= task["started_at"]
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("bad", 0)])


@pytest.mark.parametrize("when_exhausted", ALL)
def test_nothing_is_exhausted_while_attempts_are_left(conn: psycopg.Connection, when_exhausted: str) -> None:
    run_id = run_and_fail(conn, step("bad", when_exhausted=when_exhausted, max_attempts=2))
    assert task_status(conn, run_id, "bad") == ["queued"]
    assert step_status(conn, run_id) == {"bad": "started"}
    assert step_row(conn, run_id, "bad")["error_message"] is None


def test_fail_fails_step_and_run(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(conn, exhausting("bad", when_exhausted="fail"), step("after", "bad"))
    state = step_row(conn, run_id, "bad")
    assert (state["status"], state["error_message"], state["skip_reason"]) == ("failed", "boom", None)
    assert state["failed_at"] >= state["started_at"]
    assert run_status(conn, run_id) == "failed"
    assert run_row(conn, run_id)["failed_at"] is not None
    assert step_status(conn, run_id)["after"] == "created"


def test_fail_archives_all_messages_of_the_run_and_leaves_the_rows(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(
        conn,
        exhausting("bad", when_exhausted="fail", step_type="map"),
        "working",
        step("waiting", start_delay=60),
        data=[1, 2],
    )
    assert queued(conn, "flow") == []
    assert len(archived(conn, "flow")) == 4
    assert step_status(conn, run_id) == {"bad": "failed", "working": "started", "waiting": "started"}
    assert task_status(conn, run_id, "bad") == ["failed", "started"]
    assert task_status(conn, run_id, "working") == ["started"]
    assert task_status(conn, run_id, "waiting") == ["queued"]


@pytest.mark.parametrize("when_exhausted", SKIPPING)
def test_skipping_says_that_the_handler_failed_and_why(conn: psycopg.Connection, when_exhausted: str) -> None:
    run_id = run_and_fail(conn, exhausting("bad", when_exhausted=when_exhausted), "other")
    state = step_row(conn, run_id, "bad")
    assert (state["status"], state["skip_reason"], state["error_message"]) == ("skipped", "handler_failed", "boom")
    assert (state["remaining_tasks"], state["failed_at"]) == (None, None)
    assert state["skipped_at"] is not None
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["remaining_steps"]) == ("started", 1)


@pytest.mark.parametrize("when_exhausted", SKIPPING)
def test_a_run_completes_when_its_last_step_is_skipped(conn: psycopg.Connection, when_exhausted: str) -> None:
    run_id = run_and_fail(conn, exhausting("bad", when_exhausted=when_exhausted))
    run = run_row(conn, run_id)
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", None, 0)


@pytest.mark.parametrize("when_exhausted", SKIPPING)
def test_the_siblings_of_the_failed_task_lose_their_messages_alone(
    conn: psycopg.Connection, when_exhausted: str
) -> None:
    create_flow(conn, "flow", exhausting("bad", when_exhausted=when_exhausted, step_type="map"), "other")
    run_id = start(conn, "flow", [1, 2, 3])
    poll_and_start(conn, "flow", qty=2)
    fail(conn, run_id, "bad", task_index=1)
    assert queued(conn, "flow") == [("other", 0)]
    assert archived(conn, "flow") == [("bad", 0), ("bad", 1), ("bad", 2)]
    assert task_status(conn, run_id, "bad") == ["started", "failed", "queued"]


@pytest.mark.parametrize("when_exhausted", SKIPPING)
def test_a_second_failure_in_a_skipped_map_counts_nothing_again(conn: psycopg.Connection, when_exhausted: str) -> None:
    run_id = run_and_fail(conn, exhausting("bad", when_exhausted=when_exhausted, step_type="map"), "other", data=[1, 2])
    before = run_row(conn, run_id), step_row(conn, run_id, "bad")
    assert fail(conn, run_id, "bad", "again", task_index=1)["status"] == "started"
    assert (run_row(conn, run_id), step_row(conn, run_id, "bad")) == before


def test_skip_lets_dependents_go_on_without_it(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(conn, exhausting("bad", when_exhausted="skip"), step("after", "bad"))
    assert step_status(conn, run_id) == {"bad": "skipped", "after": "started"}
    assert [t.input for t in poll_and_start(conn, "flow")] == [{}]


def test_skip_makes_a_map_behind_it_empty(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(
        conn, exhausting("bad", when_exhausted="skip"), step("m", "bad", step_type="map"), step("after", "m")
    )
    assert step_status(conn, run_id) == {"bad": "skipped", "m": "completed", "after": "started"}
    assert step_row(conn, run_id, "m")["output"] == []


def test_skip_judges_the_steps_that_it_makes_ready(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(
        conn,
        exhausting("bad", when_exhausted="skip"),
        step("needs", "bad", required_input_pattern={"bad": 1}),
        step("without", "bad", forbidden_input_pattern={"bad": 1}),
    )
    assert step_status(conn, run_id) == {"bad": "skipped", "needs": "skipped", "without": "started"}
    assert step_row(conn, run_id, "needs")["skip_reason"] == "condition_unmet"


def test_skip_fails_the_run_where_a_step_behind_it_must_not_be_unmet(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(
        conn,
        exhausting("bad", when_exhausted="skip"),
        step("must", "bad", required_input_pattern={"bad": 1}, when_unmet="fail"),
        step("after", "bad"),
        "other",
    )
    assert step_status(conn, run_id) == {"bad": "skipped", "must": "failed", "after": "created", "other": "started"}
    assert run_status(conn, run_id) == "failed"
    assert queued(conn, "flow") == []


def test_the_returned_row_is_the_tasks_also_when_the_run_fails_by_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", exhausting("bad", when_exhausted="fail"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    row = fail(conn, run_id, "bad")
    assert (row["step_slug"], row["status"], row["error_message"]) == ("bad", "failed", "boom")


def test_skip_cascade_skips_all_that_come_after_it(conn: psycopg.Connection) -> None:
    run_id = run_and_fail(
        conn, "other", exhausting("bad", when_exhausted="skip-cascade"), step("b", "bad", "other"), step("c", "b")
    )
    assert step_status(conn, run_id) == {"other": "started", "bad": "skipped", "b": "skipped", "c": "skipped"}
    reasons = [(step_row(conn, run_id, s)["skip_reason"], step_row(conn, run_id, s)["error_message"]) for s in "bc"]
    assert reasons == [("dependency_skipped", None)] * 2
    assert run_row(conn, run_id)["remaining_steps"] == 1
    complete(conn, run_id, "other", 1)
    assert (run_status(conn, run_id), run_row(conn, run_id)["output"]) == ("completed", None)


@pytest.mark.parametrize("when_exhausted", SKIPPING)
def test_the_skipped_step_is_told_once_with_its_error(conn: psycopg.Connection, when_exhausted: str) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", exhausting("bad", when_exhausted=when_exhausted, step_type="map"), "other")
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    forget_events(conn)
    fail(conn, run_id, "bad")
    fail(conn, run_id, "bad", "again", task_index=1)
    assert sent(conn) == ["step:bad:skipped"]
    assert payload(conn, "step:bad:skipped")["error_message"] == "boom"
