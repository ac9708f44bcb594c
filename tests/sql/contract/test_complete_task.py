"""pgflow.complete_task; type violations and conditions have tests of their own in tests/sql/lifecycle."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.flows import (
    Row,
    archived,
    call,
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
from tests.support import rows, value


def started(conn: psycopg.Connection, *steps: Any, input: Any = {}, **options: Any) -> uuid.UUID:  # noqa: B006
    """A run of `flow` whose first tasks have been started."""
    create_flow(conn, "flow", *steps, **options)
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
    run = started(trial, "a")
    found = call(trial, "complete_task", run_id=run, step_slug="a", task_index=0, output={"x": 1})
    assert found == [task_row(trial, run, "a")]
    assert (found[0]["status"], found[0]["output"]) == ("completed", {"x": 1})
    assert found[0]["completed_at"] == value(trial, "select now()")


def test_the_last_task_completes_step_and_run(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    complete(trial, run, "a", {"x": 1})
    state, now = step_row(trial, run, "a"), value(trial, "select now()")
    assert (state["status"], state["output"], state["remaining_tasks"], state["completed_at"]) == (
        "completed", {"x": 1}, 0, now,
    )  # fmt: skip
    found = run_row(trial, run)
    assert (found["status"], found["output"], found["remaining_steps"], found["completed_at"]) == (
        "completed", {"a": {"x": 1}}, 0, now,
    )  # fmt: skip


def test_the_message_is_archived(trial: psycopg.Connection) -> None:
    run = started(trial, "a", "b")
    complete(trial, run, "a")
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("b", 0)], [("a", 0)])


@pytest.mark.parametrize("output", [0, "", False, [], {}, "x", 1.5])
def test_an_output_is_stored_as_it_is(trial: psycopg.Connection, output: Any) -> None:
    run = started(trial, "a")
    assert complete(trial, run, "a", output)["output"] == output
    assert step_row(trial, run, "a")["output"] == output
    assert run_row(trial, run)["output"] == {"a": output}


@pytest.mark.parametrize(("output", "kind"), [(None, None), (Jsonb(None), "null")])
def test_only_sql_null_is_null(trial: psycopg.Connection, output: Any, kind: str | None) -> None:
    run = started(trial, "a")
    complete(trial, run, "a", output)
    assert value(trial, "select jsonb_typeof(output) from pgflow.step_tasks") == kind
    assert value(trial, "select jsonb_typeof(output) from pgflow.step_states") == kind
    assert run_row(trial, run)["output"] == {"a": None}


def test_a_map_completes_with_its_last_task(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=["x", "y", "z"])
    seen = []
    for index in (2, 0, 1):
        complete(trial, run, "m", f"out {index}", task_index=index)
        state = step_row(trial, run, "m")
        seen.append(
            (state["status"], state["remaining_tasks"], state["output"], run_row(trial, run)["remaining_steps"])
        )
    assert seen == [
        ("started", 2, None, 1),
        ("started", 1, None, 1),
        ("completed", 0, ["out 0", "out 1", "out 2"], 0),
    ]


def test_a_maps_output_is_in_the_order_of_the_numbers(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=list(range(12)))
    for index in reversed(range(12)):
        complete(trial, run, "m", index, task_index=index)
    assert step_row(trial, run, "m")["output"] == list(range(12))


def test_a_map_of_one_task_has_an_array_too(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=["x"])
    complete(trial, run, "m", "out")
    assert run_row(trial, run)["output"] == {"m": ["out"]}


def test_in_a_maps_array_sql_null_is_json_null(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=["x", "y", "z"])
    for index, output in enumerate([None, Jsonb(None), 1]):
        complete(trial, run, "m", output, task_index=index)
    assert step_row(trial, run, "m")["output"] == [None, None, 1]


def test_dependents_start_with_their_last_dependency(trial: psycopg.Connection) -> None:
    run = started(trial, "a", "b", step("c", "a", "b"))
    complete(trial, run, "a")
    assert (step_row(trial, run, "c")["remaining_deps"], step_status(trial, run)["c"]) == (1, "created")
    complete(trial, run, "b")
    assert (step_row(trial, run, "c")["remaining_deps"], step_status(trial, run)["c"]) == (0, "started")
    assert queued(trial, "flow") == [("c", 0)]


def test_a_dependent_map_learns_its_length(trial: psycopg.Connection) -> None:
    run = started(trial, "a", step("m", "a", step_type="map"), step("n", "m", step_type="map"))
    complete(trial, run, "a", [1, 2, 3])
    assert [step_row(trial, run, slug)["initial_tasks"] for slug in "mn"] == [3, None]
    assert queued(trial, "flow") == [("m", 0), ("m", 1), ("m", 2)]
    poll_and_start(trial, "flow")
    for index in range(3):
        complete(trial, run, "m", "no array is needed", task_index=index)
    assert step_row(trial, run, "n")["initial_tasks"] == 3


def test_all_dependent_maps_learn_their_length(trial: psycopg.Connection) -> None:
    run = started(trial, "a", step("m", "a", step_type="map"), step("n", "a", step_type="map"))
    complete(trial, run, "a", ["x", "y"])
    assert queued(trial, "flow") == [("m", 0), ("m", 1), ("n", 0), ("n", 1)]


def test_a_known_length_stays(trial: psycopg.Connection) -> None:
    run = started(trial, "a", step("m", "a", step_type="map"))
    trial.execute("update pgflow.step_states set initial_tasks = 1 where step_slug = 'm'")
    complete(trial, run, "a", ["x", "y"])
    assert step_row(trial, run, "m")["initial_tasks"] == 1
    assert run_status(trial, run) == "started"


@pytest.mark.parametrize("cause", ["it is empty", "it is skipped"])
def test_a_known_length_goes_with_the_elements(trial: psycopg.Connection, cause: str) -> None:
    """Where its dependency brings no elements at all, because it had no tasks or was skipped."""
    create_flow(
        trial,
        "flow",
        step("a", step_type="map", when_exhausted="skip", max_attempts=1),
        step("b", "a", step_type="map", when_exhausted="skip", max_attempts=1),
        step("c", "b", step_type="map"),
    )
    run = start(trial, "flow", ["x"])
    poll_and_start(trial, "flow")
    trial.execute("update pgflow.step_states set initial_tasks = 3 where step_slug = 'c'")
    if cause == "it is empty":
        trial.execute("update pgflow.step_states set initial_tasks = 0 where step_slug = 'b'")
        complete(trial, run, "a", "x")
    else:
        complete(trial, run, "a", "x")
        poll_and_start(trial, "flow")
        fail(trial, run, "b")
    assert step_row(trial, run, "c")["initial_tasks"] == 0
    assert run_status(trial, run) == "completed"


def test_a_second_completion_changes_nothing(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map"), input=["x", "y"])
    complete(trial, run, "m", "first")
    before = everything(trial, run)
    assert complete(trial, run, "m", "second")["output"] == "first"
    assert everything(trial, run) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("m", 1)], [("m", 0)])


def test_a_second_completion_after_the_runs_end_changes_nothing(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    complete(trial, run, "a", "first")
    before = everything(trial, run)
    assert complete(trial, run, "a", "second")["output"] == "first"
    assert everything(trial, run) == before


def test_a_queued_task_is_not_completed_and_its_message_stays(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    before = everything(trial, run)
    assert complete(trial, run, "a", 1)["status"] == "queued"
    assert everything(trial, run) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("a", 0)], [])


def test_a_failed_task_of_a_started_step_is_not_completed(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    trial.execute("update pgflow.step_tasks set status = 'failed'")
    before = everything(trial, run)
    assert complete(trial, run, "a", 1)["status"] == "failed"
    assert everything(trial, run) == before


def test_under_a_failed_run_nothing_changes(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    trial.execute("update pgflow.runs set status = 'failed', failed_at = now()")
    before = everything(trial, run)
    assert complete(trial, run, "a", 1)["status"] == "started"
    assert everything(trial, run) == before
    assert queued(trial, "flow") == [("a", 0)]


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
    run = started(trial, "a", "b", step("m", "a", step_type="map"))
    trial.execute(f"update pgflow.step_states set {changed} where step_slug = 'a'")
    before = everything(trial, run)
    assert complete(trial, run, "a", "no array")["status"] == "started"
    assert everything(trial, run) == before
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("b", 0)], [("a", 0)])


def test_a_sibling_of_a_skipped_step_comes_too_late(trial: psycopg.Connection) -> None:
    run = started(trial, step("m", step_type="map", when_exhausted="skip"), "b", input=["x", "y"], max_attempts=1)
    fail(trial, run, "m", task_index=0)
    before = everything(trial, run)
    assert complete(trial, run, "m", 1, task_index=1)["status"] == "started"
    assert everything(trial, run) == before


@pytest.mark.parametrize("message_id", [None, 9999])
def test_a_task_without_a_message_completes(trial: psycopg.Connection, message_id: int | None) -> None:
    run = started(trial, "a")
    trial.execute("update pgflow.step_tasks set message_id = %s", (message_id,))
    assert complete(trial, run, "a", 1)["status"] == "completed"
    assert run_status(trial, run) == "completed"


def test_a_task_whose_message_is_archived_completes(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    trial.execute("select pgmq.archive('flow', message_id) from pgflow.step_tasks")
    complete(trial, run, "a", 1)
    assert (run_status(trial, run), archived(trial, "flow")) == ("completed", [("a", 0)])


def test_other_runs_are_left_alone(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    other = start(trial, "flow")
    before = everything(trial, other)
    complete(trial, run, "a", 1)
    assert everything(trial, other) == before


def test_any_worker_may_complete_a_task(trial: psycopg.Connection) -> None:
    run = started(trial, "a")
    trial.execute("delete from pgflow.workers")
    assert complete(trial, run, "a", 1)["status"] == "completed"


def test_a_step_behind_an_unmet_condition_is_judged_at_once(trial: psycopg.Connection) -> None:
    run = started(trial, "a", step("b", "a", required_input_pattern={"a": 1}), step("c", "b"))
    complete(trial, run, "a", 2)
    assert step_status(trial, run) == {"a": "completed", "b": "skipped", "c": "started"}


def test_a_condition_that_fails_the_run_keeps_the_completed_step(trial: psycopg.Connection) -> None:
    run = started(trial, "a", step("b", "a", required_input_pattern={"a": 1}, when_unmet="fail"), step("c", "a"))
    assert complete(trial, run, "a", 2)["status"] == "completed"
    assert step_status(trial, run) == {"a": "completed", "b": "failed", "c": "created"}
    assert run_status(trial, run) == "failed"
    assert queued(trial, "flow") == []


def test_the_run_of_a_diamond_is_worked_through(trial: psycopg.Connection) -> None:
    run = started(trial, "a", step("b", "a"), step("c", "a"), step("d", "b", "c"))
    for slug in "abcd":
        complete(trial, run, slug, slug.upper())
        poll_and_start(trial, "flow")
    assert run_row(trial, run)["output"] == {"d": "D"}
    assert archived(trial, "flow") == [("a", 0), ("b", 0), ("c", 0), ("d", 0)]


def test_times_are_never_before_those_they_follow(dsn: str, conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    with psycopg.connect(dsn) as older:
        older.execute("select now()")
        run = start(conn, "flow")
        poll_and_start(conn, "flow")
        complete(older, run, "a", 1)
    task, state, found = task_row(conn, run, "a"), step_row(conn, run, "a"), run_row(conn, run)
    assert (task["completed_at"], state["completed_at"], found["completed_at"]) == (
        task["started_at"], state["started_at"], found["started_at"],
    )  # fmt: skip


def test_many_callers_at_once_complete_a_map(dsn: str, conn: psycopg.Connection) -> None:
    run = started(conn, step("m", step_type="map"), step("b", "m"), input=list(range(24)))

    def complete_each(first: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as each:
            for index in range(first, 24, 3):
                complete(each, run, "m", index, task_index=index)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(complete_each, [0, 1, 2, 0, 1, 2]))
    assert step_row(conn, run, "m")["output"] == list(range(24))
    assert task_status(conn, run, "m") == ["completed"] * 24
    assert (run_row(conn, run)["remaining_steps"], queued(conn, "flow")) == (1, [("b", 0)])
