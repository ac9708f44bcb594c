"""Steps without tasks complete at once, wave after wave."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

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
)
from tests.sql.lifecycle.stand_ins import add_realtime, payload, sent
from tests.support import value


def complete_taskless(conn: psycopg.Connection, run_id: uuid.UUID) -> int:
    count: int = value(conn, "select pgflow.cascade_complete_taskless_steps(%s)", run_id)
    return count


def waiting_run(conn: psycopg.Connection, status: str = "started", **initial_tasks: int | None) -> uuid.UUID:
    """A run of `flow` whose steps wait with so many tasks each, as a caller's own rows may."""
    run_id: uuid.UUID = value(
        conn,
        """insert into pgflow.runs (flow_slug, input, status, remaining_steps, failed_at)
           values ('flow', '[]', %s, %s, case when %s = 'failed' then now() end) returning run_id""",
        status,
        len(initial_tasks),
        status,
    )
    for slug, tasks in initial_tasks.items():
        conn.execute(
            """insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks)
               select flow_slug, %s, step_slug, deps_count, %s from pgflow.steps where step_slug = %s""",
            (run_id, tasks, slug),
        )
    return run_id


def test_an_empty_root_map_completes_at_the_start(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [])
    state, run = step_row(conn, run_id, "m"), run_row(conn, run_id)
    assert (state["status"], state["output"], state["remaining_tasks"], state["initial_tasks"]) == (
        "completed",
        [],
        0,
        0,
    )
    assert state["started_at"] == state["completed_at"] is not None
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", {"m": []}, 0)


def test_a_taskless_step_has_neither_tasks_nor_messages(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", "m", step_type="map"))
    start(conn, "flow", [])
    assert value(conn, "select count(*) from pgflow.step_tasks") == 0
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [])


def test_a_dependent_of_an_empty_map_starts_with_its_empty_output(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("after", "m"))
    run_id = start(conn, "flow", [])
    assert (step_row(conn, run_id, "after")["status"], step_row(conn, run_id, "after")["remaining_deps"]) == (
        "started",
        0,
    )
    assert [t.input for t in poll_and_start(conn, "flow")] == [{"m": []}]


def test_a_dependent_still_waits_for_its_other_dependencies(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), "a", step("after", "m", "a"))
    run_id = start(conn, "flow", [])
    assert step_row(conn, run_id, "after")["remaining_deps"] == 1
    assert step_status(conn, run_id) == {"m": "completed", "a": "started", "after": "created"}


def test_a_map_behind_an_empty_array_completes_in_mid_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"), step("n", "m", step_type="map"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", [])
    assert step_status(conn, run_id) == {"a": "completed", "m": "completed", "n": "completed"}
    assert (run_status(conn, run_id), run_row(conn, run_id)["output"]) == ("completed", {"n": []})


def test_maps_behind_one_empty_map_complete_in_one_wave_each(conn: psycopg.Connection) -> None:
    as_map: dict[str, Any] = {"step_type": "map"}
    create_flow(
        conn, "flow", step("m", **as_map), step("n1", "m", **as_map), step("n2", "m", **as_map), step("end", "n1", "n2")
    )
    run_id = start(conn, "flow", [])
    assert step_status(conn, run_id) == {"m": "completed", "n1": "completed", "n2": "completed", "end": "started"}
    assert [t.input for t in poll_and_start(conn, "flow")] == [{"n1": [], "n2": []}]


def test_a_filled_map_is_not_taskless(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", "m", step_type="map"))
    run_id = start(conn, "flow", [1])
    assert step_status(conn, run_id) == {"m": "started", "n": "created"}
    assert step_row(conn, run_id, "n")["initial_tasks"] is None


def test_it_returns_the_number_completed_over_all_waves(conn: psycopg.Connection) -> None:
    as_map: dict[str, Any] = {"step_type": "map"}
    create_flow(conn, "flow", step("m", **as_map), step("n", "m", **as_map), step("o", "n", **as_map), "a")
    run_id = waiting_run(conn, m=0, n=None, o=None, a=1)
    assert complete_taskless(conn, run_id) == 3
    assert step_status(conn, run_id) == {"m": "completed", "n": "completed", "o": "completed", "a": "created"}
    assert run_row(conn, run_id)["remaining_steps"] == 1
    assert complete_taskless(conn, run_id) == 0


def test_a_single_step_without_tasks_completes_with_null(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b")
    run_id = waiting_run(conn, a=0, b=1)
    assert complete_taskless(conn, run_id) == 1
    assert (step_row(conn, run_id, "a")["status"], step_row(conn, run_id, "a")["output"]) == ("completed", None)


def test_it_completes_nothing_of_a_failed_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = waiting_run(conn, status="failed", m=0)
    assert complete_taskless(conn, run_id) == 0
    assert step_status(conn, run_id) == {"m": "created"}


def test_it_does_not_complete_the_run_itself(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = waiting_run(conn, m=0)
    complete_taskless(conn, run_id)
    assert (run_status(conn, run_id), run_row(conn, run_id)["remaining_steps"]) == ("started", 0)


def test_a_step_with_dependencies_left_is_not_completed(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    run_id = waiting_run(conn, a=1, m=0)
    assert complete_taskless(conn, run_id) == 0


@pytest.mark.parametrize("kind", ["single", "map"])
def test_its_event_tells_the_whole_life_at_once(conn: psycopg.Connection, kind: str) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", step("t", step_type=kind), "other")
    run_id = waiting_run(conn, t=0, other=1)
    complete_taskless(conn, run_id)
    assert sent(conn) == ["step:t:completed"]
    told, state = payload(conn, "step:t:completed"), step_row(conn, run_id, "t")
    at = value(conn, "select to_jsonb(completed_at) #>> '{}' from pgflow.step_states where step_slug = 't'")
    assert told == {
        "event_type": "step:completed",
        "run_id": str(run_id),
        "step_slug": "t",
        "status": "completed",
        "output": state["output"],
        "started_at": at,
        "completed_at": at,
        "remaining_tasks": 0,
        "remaining_deps": 0,
    }


def test_a_chain_of_empty_maps_is_told_one_by_one(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", step("b", step_type="map"), step("a", "b", step_type="map"))
    start(conn, "flow", [])
    assert sent(conn) == ["run:started", "step:b:completed", "step:a:completed", "run:completed"]
