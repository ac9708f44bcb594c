"""pgflow.cascade_complete_taskless_steps."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.sql.flows import (
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
)
from tests.support import value


def cascade(conn: psycopg.Connection, run: uuid.UUID) -> int:
    return int(value(conn, "select pgflow.cascade_complete_taskless_steps(%s)", run))


def paused_run(conn: psycopg.Connection, *taskless: str) -> uuid.UUID:
    """A run of `flow`, none of its steps started and these without tasks: as a caller may leave it."""
    run = start(conn, "flow", [1])
    conn.execute("select pgmq.purge_queue('flow')")
    conn.execute("delete from pgflow.step_tasks")
    conn.execute("update pgflow.step_states set status = 'created', remaining_tasks = null, started_at = null")
    conn.execute("update pgflow.step_states set initial_tasks = 0 where step_slug = any (%s)", (list(taskless),))
    return run


def test_a_map_completes_with_an_empty_array(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"), "a")
    run = paused_run(trial, "m")
    assert cascade(trial, run) == 1
    state = step_row(trial, run, "m")
    now = value(trial, "select now()")
    assert (state["status"], state["output"], state["remaining_tasks"]) == ("completed", [], 0)
    assert (state["started_at"], state["completed_at"]) == (now, now)


def test_a_single_step_completes_with_null(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b")
    run = paused_run(trial, "a")
    assert cascade(trial, run) == 1
    assert step_row(trial, run, "a")["status"] == "completed"
    assert value(trial, "select output is null from pgflow.step_states where step_slug = 'a'") is True


def test_dependents_wait_for_one_less_and_dependent_maps_are_empty_too(trial: psycopg.Connection) -> None:
    create_flow(
        trial,
        "flow",
        step("m", step_type="map"),
        "a",
        step("b", "m", "a"),
        step("n", "m", step_type="map"),
        step("o", "n", step_type="map"),
    )
    run = paused_run(trial, "m")
    assert cascade(trial, run) == 3
    assert step_status(trial, run) == {
        "m": "completed",
        "n": "completed",
        "o": "completed",
        "a": "created",
        "b": "created",
    }
    assert step_row(trial, run, "b")["remaining_deps"] == 1
    assert run_row(trial, run)["remaining_steps"] == 2


def test_no_tasks_and_no_messages_are_made(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"), step("b", "m"))
    run = paused_run(trial, "m")
    cascade(trial, run)
    assert queued(trial, "flow") == []
    assert value(trial, "select count(*) from pgflow.step_tasks") == 0
    assert step_status(trial, run)["b"] == "created"


def test_it_does_not_complete_the_run(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    run = paused_run(trial, "m")
    assert cascade(trial, run) == 1
    assert (run_status(trial, run), run_row(trial, run)["remaining_steps"]) == ("started", 0)


@pytest.mark.parametrize("taskless", [[], ["b"]])
def test_a_step_that_has_tasks_or_waits_is_left_alone(trial: psycopg.Connection, taskless: list[str]) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = paused_run(trial, *taskless)
    assert cascade(trial, run) == 0
    assert step_status(trial, run) == {"a": "created", "b": "created"}


def test_a_second_call_completes_nothing(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"), "a")
    run = paused_run(trial, "m")
    assert (cascade(trial, run), cascade(trial, run)) == (1, 0)
    assert run_row(trial, run)["remaining_steps"] == 1


def test_nothing_completes_on_a_failed_run(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    run = paused_run(trial, "m")
    trial.execute("update pgflow.runs set status = 'failed'")
    assert cascade(trial, run) == 0
    assert step_status(trial, run) == {"m": "created"}


def test_an_unknown_run_has_none(trial: psycopg.Connection) -> None:
    assert cascade(trial, uuid.uuid4()) == 0


def test_an_empty_output_completes_the_maps_behind_it(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("m", "a", step_type="map"), step("n", "m", step_type="map"), step("b", "n"))
    run = start(trial, "flow")
    poll_and_start(trial, "flow")
    complete(trial, run, "a", [])
    assert step_status(trial, run) == {"a": "completed", "m": "completed", "n": "completed", "b": "started"}
    assert queued(trial, "flow") == [("b", 0)]


@pytest.mark.slow
def test_a_chain_of_1000_empty_maps_completes(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m0", step_type="map"))
    trial.execute(
        """select pgflow.add_step('flow', 'm' || i, array['m' || (i - 1)], step_type => 'map')
           from generate_series(1, 999) i"""
    )
    run = start(trial, "flow", [])
    found = run_row(trial, run)
    assert (found["status"], found["remaining_steps"], found["output"]) == ("completed", 0, {"m999": []})
