"""pgflow.maybe_complete_run."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.flows import call, complete, create_flow, fail, poll_and_start, run_row, start, step
from tests.support import value


def test_a_run_with_nothing_left_completes(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow")
    trial.execute("update pgflow.runs set remaining_steps = 0")
    trial.execute(
        "update pgflow.step_states set status = 'completed', remaining_tasks = 0, output = to_jsonb(step_slug)"
    )
    call(trial, "maybe_complete_run", run_id=run)
    found = run_row(trial, run)
    assert (found["status"], found["output"]) == ("completed", {"b": "b"})
    assert found["completed_at"] == value(trial, "select now()")


def test_a_run_with_steps_left_does_not(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    before = run_row(trial, run)
    call(trial, "maybe_complete_run", run_id=run)
    assert run_row(trial, run) == before


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_terminal_run_stays_as_it_is(trial: psycopg.Connection, status: str) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute("update pgflow.runs set status = %s, remaining_steps = 0", (status,))
    before = run_row(trial, run)
    call(trial, "maybe_complete_run", run_id=run)
    assert run_row(trial, run) == before


def test_an_unknown_run_is_no_error(trial: psycopg.Connection) -> None:
    call(trial, "maybe_complete_run", run_id=uuid.uuid4())


def test_the_output_names_all_completed_steps_without_dependents(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a"), step("c", "a"), step("m", step_type="map"), "d")
    run = start(trial, "flow", ["x"])
    for slug in ("a", "b", "c", "m", "d"):
        poll_and_start(trial, "flow")
        complete(trial, run, slug, Jsonb(None) if slug == "c" else None if slug == "d" else slug)
    assert run_row(trial, run)["output"] == {"b": "b", "c": None, "m": ["m"], "d": None}


def test_a_skipped_step_is_no_part_of_the_output_nor_is_what_comes_before_it(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a", required_input_pattern={"no": 1}), "c")
    run = start(trial, "flow")
    poll_and_start(trial, "flow")
    complete(trial, run, "a", 1)
    complete(trial, run, "c", 2)
    assert run_row(trial, run)["output"] == {"c": 2}


def test_without_a_completed_last_step_the_output_is_null(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("a", when_exhausted="skip"), max_attempts=1)
    run = start(trial, "flow")
    poll_and_start(trial, "flow")
    fail(trial, run, "a")
    assert run_row(trial, run)["status"] == "completed"
    assert value(trial, "select output is null from pgflow.runs") is True
