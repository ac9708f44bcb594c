"""Maps: elements stored with their tasks, and the number of tasks said beforehand."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import add_our_worker, completed, inputs, poll, poll_one, run, settle
from tests.sql.flows import complete, create_flow, poll_and_start, queued, run_row, start, step, step_row, step_status
from tests.support import rows

ELEMENTS = [0, None, "", {"a": [1]}, [], False]


def stored(conn: psycopg.Connection) -> list[Any]:
    return [i for (i,) in rows(conn, "select input from pgflow.step_tasks where step_slug = 'm' order by task_index")]


def declare(conn: psycopg.Connection, slug: str, initial_tasks: int) -> None:
    conn.execute("update pgflow.steps set initial_tasks = %s where step_slug = %s", (initial_tasks, slug))


def test_a_root_maps_elements_are_stored_with_its_tasks(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", ELEMENTS)
    assert stored(conn) == ELEMENTS
    assert inputs(poll(conn, add_our_worker(conn))) == ELEMENTS


def test_a_json_null_is_stored_as_one(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", [None])
    assert rows(conn, "select input::text from pgflow.step_tasks") == [("null",)]


def test_a_dependent_maps_elements_are_stored_with_its_tasks(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, completed(poll_one(conn, worker), ELEMENTS))
    assert stored(conn) == ELEMENTS
    assert inputs(poll(conn, worker)) == ELEMENTS


def test_the_elements_of_several_maps_and_runs_are_not_mixed_up(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", step_type="map"), "single")
    run_ids = [start(conn, "flow", [f"{i}.{j}" for j in range(i + 1)]) for i in range(4)]
    worker = add_our_worker(conn)
    tasks = [t for t in poll(conn, worker) if t.step_slug != "single"]
    expected = [f"{run_ids.index(t.run_id)}.{t.task_index}" for t in tasks]
    assert inputs(tasks) == expected
    assert len(tasks) == 2 * (1 + 2 + 3 + 4)


def test_a_single_step_stores_no_input(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow", {"x": 1})
    assert rows(conn, "select input from pgflow.step_tasks") == [(None,)]


@pytest.mark.parametrize("claim", ["poll", "start_tasks"])
def test_a_task_row_made_by_hand_still_gets_its_element(conn: psycopg.Connection, claim: str) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", ["x", "y"])
    conn.execute("update pgflow.step_tasks set input = null")
    got = (
        inputs(poll(conn, add_our_worker(conn))) if claim == "poll" else [t.input for t in poll_and_start(conn, "flow")]
    )
    assert got == ["x", "y"]


# ------------------------------------------------------------------------------- initial_tasks


@pytest.mark.parametrize("input_", [{"x": 1}, [1], None])
def test_a_root_map_of_declared_length_counts_whatever_the_input(conn: psycopg.Connection, input_: Any) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    declare(conn, "m", 3)
    conn.execute("select pgflow.start_flow('flow', %s::jsonb)", (psycopg.types.json.Jsonb(input_),))
    assert inputs(poll(conn, add_our_worker(conn))) == [0, 1, 2]
    assert stored(conn) == [0, 1, 2]


def test_a_root_map_of_declared_length_counts_with_start_flows_and_start_tasks(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    declare(conn, "m", 2)
    run(conn, calls.start_flows("flow", [b"{}"]))
    assert [t.input for t in poll_and_start(conn, "flow")] == [0, 1]


def test_a_root_map_of_declared_length_0_completes_at_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    declare(conn, "m", 0)
    assert run_row(conn, start(conn, "flow", [1, 2]))["output"] == {"m": []}


def test_another_root_map_still_needs_its_array(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", step_type="map"))
    declare(conn, "m", 3)
    with pytest.raises(psycopg.errors.RaiseException, match="not an array"):
        start(conn, "flow", {})
    start(conn, "flow", ["x"])
    assert [(t.step_slug, t.task_index) for t in poll(conn, add_our_worker(conn))] == [
        ("m", 0),
        ("m", 1),
        ("m", 2),
        ("n", 0),
    ]


@pytest.mark.parametrize("call", ["settle_tasks", "complete_task"])
def test_a_dependent_map_of_the_declared_length_starts(conn: psycopg.Connection, call: str) -> None:
    run_id = feed_declared_map(conn, ["x", "y"], call)
    assert inputs(poll(conn, add_our_worker(conn))) == ["x", "y"]
    assert step_row(conn, run_id, "m")["initial_tasks"] == 2


@pytest.mark.parametrize("call", ["settle_tasks", "complete_task"])
@pytest.mark.parametrize("array", [[], [1], [1, 2, 3]])
def test_a_dependent_map_of_another_length_fails(conn: psycopg.Connection, array: list[int], call: str) -> None:
    run_id = feed_declared_map(conn, array, call)
    error = f'Map step "m" expected 2 elements, got {len(array)}'
    assert step_row(conn, run_id, "m")["error_message"] == error
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["error_message"]) == ("failed", error)
    assert step_status(conn, run_id) == {"a": "completed", "m": "failed"}
    assert queued(conn, "flow") == []


def test_a_declared_map_behind_a_step_that_yields_no_array_is_a_type_violation(conn: psycopg.Connection) -> None:
    run_id = feed_declared_map(conn, {"x": 1}, "settle_tasks")
    assert step_row(conn, run_id, "a")["error_message"] == (
        "[TYPE_VIOLATION] Map step m expects array input but dependency a produced object"
    )


def feed_declared_map(conn: psycopg.Connection, output: Any, call: str) -> uuid.UUID:
    """A run whose step "a" returns this to a map "m" that expects two elements."""
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    declare(conn, "m", 2)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    if call == "settle_tasks":
        settle(conn, worker, completed(task, output))
    else:
        complete(conn, run_id, "a", output)
    return run_id


def test_a_declared_map_behind_a_declared_map(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", step_type="map"), step("m", "a", step_type="map"))
    declare(conn, "a", 2)
    declare(conn, "m", 2)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, *(completed(t, f"#{t.task_index}") for t in poll(conn, worker)))
    assert inputs(poll(conn, worker)) == ["#0", "#1"]
    assert run_row(conn, run_id)["status"] == "started"


def test_a_declared_map_behind_a_skipped_step_is_empty(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", required_input_pattern={"x": 1}), step("m", "a", step_type="map"))
    declare(conn, "m", 2)
    assert run_row(conn, start(conn, "flow"))["output"] == {"m": []}


def test_only_maps_can_declare_a_length(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    with pytest.raises(psycopg.errors.CheckViolation, match="initial_tasks_is_for_maps"):
        declare(conn, "a", 1)
