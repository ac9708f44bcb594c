"""pgflow.fail_task."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.flows import (
    Row,
    archived,
    call,
    complete,
    create_flow,
    fail,
    make_visible,
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
    visible_in,
)
from tests.support import rows, value


def started(conn: psycopg.Connection, *steps: Any, input: Any = {}, **options: Any) -> uuid.UUID:  # noqa: B006
    """A run of `flow` (one attempt, unless said otherwise) whose first tasks have been started."""
    create_flow(conn, "flow", *steps, **{"max_attempts": 1, **options})
    run = start(conn, "flow", input)
    poll_and_start(conn, "flow")
    return run


def everything(conn: psycopg.Connection, run: uuid.UUID) -> list[Row]:
    """All that is stored of a run, for comparing before and after."""
    tables = ("runs", "step_states", "step_tasks")
    return [
        row
        for table in tables
        for (row,) in rows(conn, f"select to_jsonb(t) from pgflow.{table} t where run_id = %s order by 1", run)
    ]


def test_it_returns_the_task_as_it_then_stands(trial: psycopg.Connection) -> None:
    run = started(trial, "a", max_attempts=2)
    arguments = {"run_id": run, "step_slug": "a", "task_index": 0, "error_message": "boom"}
    assert call(trial, "fail_task", **arguments) == [task_row(trial, run, "a")]


def test_it_returns_the_task_also_when_it_fails_the_run(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    arguments = {"run_id": run, "step_slug": "a", "task_index": 0, "error_message": "boom"}
    found = call(trial, "fail_task", **arguments)
    assert found == [task_row(trial, run, "a")]
    assert (found[0]["status"], found[0]["error_message"]) == ("failed", "boom")
    assert run_status(trial, run) == "failed"


# ---------------------------------------------------------------------------------------- retries


def test_a_task_with_attempts_left_is_queued_again(trial: psycopg.Connection) -> None:
    run = started(trial, "a", max_attempts=2)
    before = task_row(trial, run, "a")
    task = fail(trial, run, "a", "boom")
    assert (task["status"], task["started_at"], task["error_message"], task["attempts_count"]) == (
        "queued", None, "boom", 1,
    )  # fmt: skip
    assert (task["failed_at"], task["queued_at"], task["message_id"]) == (
        None, before["queued_at"], before["message_id"],
    )  # fmt: skip


def test_a_retry_leaves_step_and_run_as_they_are(trial: psycopg.Connection) -> None:
    run = started(trial, "a", max_attempts=2)
    before = step_row(trial, run, "a"), run_row(trial, run)
    fail(trial, run, "a")
    assert (step_row(trial, run, "a"), run_row(trial, run)) == before
    assert before[0]["error_message"] is None
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("a", 0)], [])


@pytest.mark.parametrize(
    ("flow", "own", "attempts_made", "delay"),
    [
        ({"base_delay": 100}, {}, 1, 200),
        ({"base_delay": 100}, {}, 2, 400),
        ({"base_delay": 100}, {}, 4, 1600),
        ({"base_delay": 100}, {"base_delay": 50}, 3, 400),
        ({"base_delay": 100}, {"base_delay": 0}, 3, 0),
        ({"base_delay": 0}, {"base_delay": 50}, 1, 100),
    ],
)
def test_the_delay_doubles_with_each_attempt(
    trial: psycopg.Connection, flow: dict[str, int], own: dict[str, int], attempts_made: int, delay: int
) -> None:
    run = started(trial, step("a", **own), max_attempts=9, **flow)
    trial.execute("update pgflow.step_tasks set attempts_count = %s", (attempts_made,))
    fail(trial, run, "a")
    assert delay - 30 < visible_in(trial, "flow", task_row(trial, run, "a")["message_id"]) <= delay


def test_without_a_delay_the_task_can_be_read_at_once(trial: psycopg.Connection) -> None:
    run = started(trial, "a", max_attempts=2, base_delay=0)
    fail(trial, run, "a")
    assert [r.step_slug for r in poll_and_start(trial, "flow")] == ["a"]
    assert task_row(trial, run, "a")["attempts_count"] == 2


@pytest.mark.parametrize(
    ("flow", "own", "attempts"), [(0, None, 1), (1, None, 1), (3, None, 3), (1, 2, 2), (3, 1, 1), (3, 0, 1)]
)
def test_a_task_has_so_many_attempts(trial: psycopg.Connection, flow: int, own: int | None, attempts: int) -> None:
    run = started(trial, step("a", max_attempts=own), max_attempts=flow)
    seen = []
    for _ in range(attempts):
        seen.append(fail(trial, run, "a")["status"])
        make_visible(trial, "flow")
        poll_and_start(trial, "flow")
    assert seen == ["queued"] * (attempts - 1) + ["failed"]
    assert task_row(trial, run, "a")["attempts_count"] == attempts


def test_the_tasks_of_a_map_are_retried_each_for_itself(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=["x", "y"], max_attempts=2)
    fail(trial, run, "m", task_index=1)
    assert task_status(trial, run, "m") == ["started", "queued"]
    complete(trial, run, "m", "out", task_index=0)
    make_visible(trial, "flow")
    poll_and_start(trial, "flow")
    complete(trial, run, "m", "late", task_index=1)
    assert run_row(trial, run)["output"] == {"m": ["out", "late"]}


def test_a_task_without_a_message_is_queued_again(trial: psycopg.Connection) -> None:
    run = started(trial, "a", max_attempts=2)
    trial.execute("update pgflow.step_tasks set message_id = null")
    assert fail(trial, run, "a")["status"] == "queued"


# ---------------------------------------------------------------------------------------- the last attempt


@pytest.mark.parametrize("when_exhausted", ["fail", "skip", "skip-cascade"])
def test_without_attempts_left_the_task_has_failed(trial: psycopg.Connection, when_exhausted: str) -> None:
    run = started(trial, step("a", when_exhausted=when_exhausted))
    task = fail(trial, run, "a", "boom")
    assert (task["status"], task["error_message"], task["output"]) == ("failed", "boom", None)
    assert task["failed_at"] == value(trial, "select now()")
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([], [("a", 0)])


def test_fail_fails_step_and_run(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    fail(trial, run, "a", "boom")
    state, found, now = step_row(trial, run, "a"), run_row(trial, run), value(trial, "select now()")
    assert (state["status"], state["error_message"], state["failed_at"]) == ("failed", "boom", now)
    assert (found["status"], found["failed_at"], found["output"]) == ("failed", now, None)
    assert found["error_message"] == "boom"


def test_fail_archives_all_messages_of_the_run_and_leaves_the_rows(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), "b", step("d", start_delay=100), step("c", "b"), input=["x", "y"])
    other = start(trial, "flow", [])
    before = [step_row(trial, run, "b"), step_row(trial, run, "c"), step_row(trial, run, "d")]
    fail(trial, run, "m", task_index=0)
    assert archived(trial, "flow") == [("b", 0), ("d", 0), ("m", 0), ("m", 1)]
    assert queued(trial, "flow") == [("b", 0), ("d", 0)]  # the other run's
    assert step_status(trial, other) == {"m": "completed", "b": "started", "d": "started", "c": "created"}
    assert task_status(trial, run, "m") == ["failed", "started"]
    assert (task_status(trial, run, "b"), task_status(trial, run, "d")) == (["started"], ["queued"])
    assert [step_row(trial, run, "b"), step_row(trial, run, "c"), step_row(trial, run, "d")] == before


def test_skip_skips_the_step_and_goes_on(trial: psycopg.Connection) -> None:
    run = started(trial, step("a", when_exhausted="skip"), "b", step("c", "a", "b"), step("d", "a"))
    fail(trial, run, "a", "boom")
    state = step_row(trial, run, "a")
    assert (state["status"], state["skip_reason"], state["error_message"], state["remaining_tasks"]) == (
        "skipped", "handler_failed", "boom", None,
    )  # fmt: skip
    assert (state["skipped_at"], state["failed_at"]) == (value(trial, "select now()"), None)
    assert step_status(trial, run) == {"a": "skipped", "b": "started", "c": "created", "d": "started"}
    assert (run_status(trial, run), run_row(trial, run)["remaining_steps"]) == ("started", 3)
    assert step_row(trial, run, "c")["remaining_deps"] == 1


def test_skip_archives_the_siblings_messages_and_counts_the_step_once(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map", when_exhausted="skip"), "b", input=["x", "y", "z"])
    fail(trial, run, "m", task_index=1)
    assert queued(trial, "flow") == [("b", 0)]
    assert task_status(trial, run, "m") == ["started", "failed", "started"]
    for index in (0, 1, 2):
        fail(trial, run, "m", "later", task_index=index)
    assert run_row(trial, run)["remaining_steps"] == 1
    assert step_row(trial, run, "m")["error_message"] == "boom"
    assert task_status(trial, run, "m") == ["started", "failed", "started"]


def test_a_map_behind_a_skipped_step_is_empty(trial: psycopg.Connection) -> None:
    run = started(trial, step("a", when_exhausted="skip"), step("m", "a", step_type="map"), step("z", "m"))
    fail(trial, run, "a")
    assert step_status(trial, run) == {"a": "skipped", "m": "completed", "z": "started"}
    assert (step_row(trial, run, "m")["initial_tasks"], step_row(trial, run, "m")["output"]) == (0, [])


def test_skip_judges_the_conditions_behind_it(trial: psycopg.Connection) -> None:
    run = started(
        trial,
        step("a", when_exhausted="skip"),
        step("b", "a", required_input_pattern={"a": 1}),
        step("c", "b"),
    )
    fail(trial, run, "a")
    assert step_status(trial, run) == {"a": "skipped", "b": "skipped", "c": "started"}
    assert step_row(trial, run, "b")["skip_reason"] == "condition_unmet"


def test_a_condition_behind_a_skip_may_fail_the_run(trial: psycopg.Connection) -> None:
    run = started(
        trial,
        step("a", when_exhausted="skip"),
        step("b", "a", required_input_pattern={"a": 1}, when_unmet="fail"),
        step("c", "a"),
    )
    assert fail(trial, run, "a")["status"] == "failed"
    assert step_status(trial, run) == {"a": "skipped", "b": "failed", "c": "created"}
    assert (run_status(trial, run), queued(trial, "flow")) == ("failed", [])


@pytest.mark.parametrize("when_exhausted", ["skip", "skip-cascade"])
def test_a_run_whose_last_step_is_skipped_completes(trial: psycopg.Connection, when_exhausted: str) -> None:
    run = started(trial, step("a", when_exhausted=when_exhausted), "b")
    complete(trial, run, "b", 1)
    fail(trial, run, "a")
    found = run_row(trial, run)
    assert (found["status"], found["remaining_steps"], found["output"]) == ("completed", 0, {"b": 1})


def test_skip_cascade_skips_all_that_comes_after(trial: psycopg.Connection) -> None:
    run = started(
        trial,
        step("a", when_exhausted="skip-cascade"),
        "b",
        step("c", "a", "b"),
        step("m", "c", step_type="map"),
        step("d", "b"),
    )
    fail(trial, run, "a", "boom")
    assert rows(
        trial,
        """select step_slug, status, skip_reason, error_message, remaining_tasks from pgflow.step_states
           where status = 'skipped' order by 1""",
    ) == [
        ("a", "skipped", "handler_failed", "boom", None),
        ("c", "skipped", "dependency_skipped", None, None),
        ("m", "skipped", "dependency_skipped", None, None),
    ]
    assert (run_status(trial, run), run_row(trial, run)["remaining_steps"]) == ("started", 2)
    assert queued(trial, "flow") == [("b", 0)]


def test_skip_cascade_archives_the_siblings_messages(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map", when_exhausted="skip-cascade"), "b", input=["x", "y"])
    fail(trial, run, "m", task_index=1)
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("b", 0)], [("m", 0), ("m", 1)])
    assert task_status(trial, run, "m") == ["started", "failed"]


# ---------------------------------------------------------------------------------------- who comes too late


def test_under_a_failed_run_a_started_task_fails(trial: psycopg.Connection) -> None:
    run = started(trial, "a", "b", max_attempts=9)
    trial.execute("update pgflow.runs set status = 'failed', failed_at = now()")
    before = run_row(trial, run), step_row(trial, run, "a")
    task = fail(trial, run, "a", "boom")
    assert (task["status"], task["error_message"], task["failed_at"]) == (
        "failed", "boom", value(trial, "select now()"),
    )  # fmt: skip
    assert (run_row(trial, run), step_row(trial, run, "a")) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("b", 0)], [("a", 0)])


def test_under_a_failed_run_a_queued_task_only_loses_its_message(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute("update pgflow.runs set status = 'failed', failed_at = now()")
    before = everything(trial, run)
    assert fail(trial, run, "a")["status"] == "queued"
    assert everything(trial, run) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([], [("a", 0)])


@pytest.mark.parametrize(
    "changed",
    [
        "status = 'skipped', skip_reason = 'x', remaining_tasks = null",
        "status = 'completed', remaining_tasks = 0",
        "status = 'failed'",
        "status = 'created', remaining_tasks = null",
    ],
)
def test_a_late_callback_only_archives_the_message(trial: psycopg.Connection, changed: str) -> None:
    run = started(trial, "a", "b")
    trial.execute(f"update pgflow.step_states set {changed} where step_slug = 'a'")
    before = everything(trial, run)
    assert fail(trial, run, "a")["status"] == "started"
    assert everything(trial, run) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("b", 0)], [("a", 0)])


def test_a_queued_task_does_not_fail_and_its_message_stays(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", max_attempts=1)
    run = start(trial, "flow")
    before = everything(trial, run)
    assert fail(trial, run, "a")["status"] == "queued"
    assert everything(trial, run) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("a", 0)], [])


def test_a_second_failure_before_the_retry_changes_nothing(trial: psycopg.Connection) -> None:
    run = started(trial, "a", max_attempts=2)
    fail(trial, run, "a", "first")
    before = everything(trial, run)
    assert fail(trial, run, "a", "second")["error_message"] == "first"
    assert everything(trial, run) == before


def test_a_completed_task_does_not_fail(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=["x", "y"])
    complete(trial, run, "m", "out", task_index=0)
    before = everything(trial, run)
    assert fail(trial, run, "m", task_index=0)["status"] == "completed"
    assert everything(trial, run) == before


@pytest.mark.parametrize("when_exhausted", ["fail", "skip", "skip-cascade"])
def test_times_are_never_before_those_they_follow(dsn: str, conn: psycopg.Connection, when_exhausted: str) -> None:
    create_flow(conn, "flow", step("a", when_exhausted=when_exhausted), max_attempts=1)
    with psycopg.connect(dsn) as older:
        older.execute("select now()")
        run = start(conn, "flow")
        poll_and_start(conn, "flow")
        fail(older, run, "a")
    task, state, found = task_row(conn, run, "a"), step_row(conn, run, "a"), run_row(conn, run)
    assert task["failed_at"] == task["started_at"]
    if when_exhausted == "fail":
        assert (state["failed_at"], found["failed_at"]) == (state["started_at"], found["started_at"])
    else:
        assert (state["skipped_at"], found["completed_at"]) == (state["started_at"], found["started_at"])
