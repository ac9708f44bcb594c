"""pgflow.start_flow."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.errors import NotNullViolation
from psycopg.types.json import Jsonb

from tests.sql.flows import call, create_flow, queued, raises, start, step, step_row, step_status, violates
from tests.support import rows, value

RUN = uuid.UUID("6f1b9b5e-0000-4000-8000-000000000000")


def test_it_returns_the_run_as_it_is_stored(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b")
    [run] = call(trial, "start_flow", flow_slug="flow", input={"x": 1})
    assert rows(trial, "select * from pgflow.runs") == [tuple(run.values())]
    assert (
        run.items()
        >= {
            "flow_slug": "flow",
            "status": "started",
            "input": {"x": 1},
            "output": None,
            "remaining_steps": 2,
            "started_at": value(trial, "select now()"),
            "completed_at": None,
            "failed_at": None,
        }.items()
    )


def test_a_run_id_may_be_given(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    assert start(trial, "flow", run_id=RUN) == RUN


def test_without_one_each_run_gets_its_own(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    assert start(trial, "flow", run_id=None) != start(trial, "flow")


def test_a_run_id_that_is_taken_is_refused(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow", run_id=RUN)
    with violates("runs_pkey"):
        start(trial, "flow", run_id=RUN)


@pytest.mark.parametrize("data", [{}, {"a": {"b": []}}, [], [1], "x", 0, False, Jsonb(None)])
def test_any_json_is_an_input(trial: psycopg.Connection, data: Any) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow", data)
    stored = value(trial, "select input from pgflow.runs")
    assert stored == (data.obj if isinstance(data, Jsonb) else data)


def test_sql_null_is_no_input(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    with pytest.raises(NotNullViolation):
        start(trial, "flow", None)


def test_there_is_a_state_per_step(trial: psycopg.Connection) -> None:
    create_flow(
        trial,
        "flow",
        "a",
        step("m", step_type="map"),
        step("n", "a", step_type="map"),
        step("z", "a", "m"),
    )
    start(trial, "flow", [1, 2, 3])
    assert rows(
        trial,
        """select step_slug, status, remaining_deps, initial_tasks, remaining_tasks, started_at
           from pgflow.step_states order by 1""",
    ) == [
        ("a", "started", 0, 1, 1, value(trial, "select now()")),
        ("m", "started", 0, 3, 3, value(trial, "select now()")),
        ("n", "created", 1, None, None, None),
        ("z", "created", 2, 1, None, None),
    ]


def test_only_root_steps_get_tasks(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "b", "a", step("c", "a", "b"))
    start(trial, "flow")
    assert queued(trial, "flow") == [("a", 0), ("b", 0)]
    assert rows(trial, "select step_slug, task_index, status from pgflow.step_tasks order by 1") == [
        ("a", 0, "queued"),
        ("b", 0, "queued"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "Flow flow has root map steps but input is NULL"),
        (Jsonb(None), "Flow flow has root map steps but input is not an array (got null)"),
        ({}, "Flow flow has root map steps but input is not an array (got object)"),
        ("x", "Flow flow has root map steps but input is not an array (got string)"),
        (1, "Flow flow has root map steps but input is not an array (got number)"),
        (True, "Flow flow has root map steps but input is not an array (got boolean)"),
    ],
)
def test_a_root_map_needs_an_array(trial: psycopg.Connection, data: Any, message: str) -> None:
    create_flow(trial, "flow", "a", step("m", step_type="map"))
    with raises(message):
        start(trial, "flow", data)


def test_a_dependent_map_takes_any_input(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("m", "a", step_type="map"))
    run = start(trial, "flow", {"x": 1})
    assert step_status(trial, run) == {"a": "started", "m": "created"}


def test_a_refused_run_leaves_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", step_type="map"))
    with raises("Flow flow has root map steps but input is NULL"):
        start(conn, "flow", None)
    assert value(conn, "select count(*) from pgflow.runs") == 0
    assert queued(conn, "flow") == []


def test_an_unknown_flow_is_named(trial: psycopg.Connection) -> None:
    with raises("Flow not found: unknown", sqlstate="23503"):
        start(trial, "unknown")


def test_a_flow_without_steps_completes_at_once_with_null_output(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    [run] = call(trial, "start_flow", flow_slug="flow", input={})
    assert (run["status"], run["remaining_steps"], run["output"]) == ("completed", 0, None)
    assert run["completed_at"] == run["started_at"]


def test_a_run_of_nothing_but_empty_maps_is_returned_completed(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"), step("n", "m", step_type="map"))
    [run] = call(trial, "start_flow", flow_slug="flow", input=Jsonb([]))
    assert (run["status"], run["remaining_steps"], run["output"]) == ("completed", 0, {"n": []})
    assert queued(trial, "flow") == []


def test_a_run_that_its_conditions_fail_is_returned_failed(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", when_unmet="fail", required_input_pattern={"x": 1}))
    [run] = call(trial, "start_flow", flow_slug="flow", input={"x": 2})
    assert (run["status"], run["failed_at"]) == ("failed", run["started_at"])
    assert step_status(trial, run["run_id"]) == {"a": "created", "b": "failed"}
    assert queued(trial, "flow") == []


def test_a_step_behind_an_empty_map_is_started_by_start_flow(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"), step("b", "m"))
    run = start(trial, "flow", [])
    assert step_status(trial, run) == {"m": "completed", "b": "started"}
    assert queued(trial, "flow") == [("b", 0)]


def test_root_maps_share_the_input(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"), step("n", step_type="map"))
    run = start(trial, "flow", ["x", "y"])
    assert [step_row(trial, run, slug)["initial_tasks"] for slug in "mn"] == [2, 2]
    assert queued(trial, "flow") == [("m", 0), ("m", 1), ("n", 0), ("n", 1)]
