"""pgflow.get_run_with_states."""

from __future__ import annotations

import uuid

import psycopg

from tests.sql.flows import complete, create_flow, poll_and_start, start, step
from tests.support import rows, value


def test_it_returns_all_columns_of_the_run_and_its_states(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow", {"x": 1})
    start(trial, "flow")
    poll_and_start(trial, "flow")
    complete(trial, run, "a", 7)
    found = value(trial, "select pgflow.get_run_with_states(%s)", run)
    assert set(found) == {"run", "steps"}
    assert found["run"] == value(trial, "select to_jsonb(r) from pgflow.runs r where run_id = %s", run)
    states = rows(
        trial,
        """select to_jsonb(s) from pgflow.step_states s where run_id = %s order by step_slug""",
        run,
    )
    assert sorted(found["steps"], key=lambda s: s["step_slug"]) == [state for (state,) in states]


def test_a_run_without_steps_has_none(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    run = start(trial, "flow")
    assert value(trial, "select pgflow.get_run_with_states(%s) -> 'steps'", run) == []


def test_an_unknown_run_is_null(trial: psycopg.Connection) -> None:
    assert value(trial, "select pgflow.get_run_with_states(%s)", uuid.uuid4()) is None
