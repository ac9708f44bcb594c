"""pgflow.start_flow_with_states."""

from __future__ import annotations

import uuid

import psycopg

from tests.sql.flows import create_flow, raises, step
from tests.support import value

RUN = uuid.UUID("6f1b9b5e-0000-4000-8000-000000000000")


def test_it_starts_a_run_and_returns_it_with_its_states(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "z", step("a", "z"))
    started = value(trial, "select pgflow.start_flow_with_states('flow', '{\"x\": 1}', %s)", RUN)
    assert started == value(trial, "select pgflow.get_run_with_states(%s)", RUN)
    assert started["run"]["input"] == {"x": 1}
    assert {s["step_slug"]: s["status"] for s in started["steps"]} == {"z": "started", "a": "created"}


def test_the_run_id_is_optional(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    started = value(trial, "select pgflow.start_flow_with_states('flow', '{}')")
    assert started["run"]["run_id"] == str(value(trial, "select run_id from pgflow.runs"))


def test_a_flow_without_steps_gives_none(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    started = value(trial, "select pgflow.start_flow_with_states('flow', '{}')")
    assert (started["run"]["status"], started["steps"]) == ("completed", [])


def test_it_fails_as_start_flow_does(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    with raises("Flow flow has root map steps but input is NULL"):
        trial.execute("select pgflow.start_flow_with_states('flow', null)")


def test_a_role_with_no_rights_on_the_tables_may_call_it(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    trial.execute("create role pgflow_test_reader")  # rolled back with everything else
    trial.execute("grant usage on schema pgflow to pgflow_test_reader")
    trial.execute("set local role pgflow_test_reader")
    run_id = value(trial, "select pgflow.start_flow_with_states('flow', '{}') #>> '{run,run_id}'")
    assert value(trial, "select pgflow.get_run_with_states(%s) #>> '{run,status}'", run_id) == "started"
