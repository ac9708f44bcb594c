"""rerun: a new run that begins at a step, with the outputs of all that does not come after it."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine.work import add_our_worker, inputs, poll
from tests.sql.flows import (
    Row,
    call,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    raises,
    run_row,
    run_status,
    start,
    step,
    step_row,
    step_status,
)
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, payload, sent
from tests.support import rows, value


def rerun(conn: psycopg.Connection, run_id: uuid.UUID, from_step: str, **options: Any) -> uuid.UUID:
    found: uuid.UUID = call(conn, "rerun", run_id=run_id, from_step=from_step, **options)[0]["run_id"]
    return found


def work_off(conn: psycopg.Connection, run_id: uuid.UUID, mark: str, *failing: str) -> None:
    """Works the run off: each task's output is an array of its step, the mark and what the task was given."""
    while tasks := poll_and_start(conn, "flow"):
        for task in tasks:
            if task.step_slug in failing:
                fail(conn, run_id, task.step_slug, "boom", task.task_index)
            else:
                complete(conn, run_id, task.step_slug, [f"{task.step_slug} {mark}"], task.task_index)


def diamond(conn: psycopg.Connection, **options: Any) -> uuid.UUID:
    create_flow(conn, "flow", "a", step("b", "a"), step("c", "a"), step("d", "b", "c"), **options)
    return start(conn, "flow", {"n": 1})


def test_a_new_run_of_the_same_flow_and_input_that_knows_its_parent(conn: psycopg.Connection) -> None:
    parent = diamond(conn)
    work_off(conn, parent, "old")
    before = run_row(conn, parent)
    (returned,) = call(conn, "rerun", run_id=parent, from_step="b")
    run = run_row(conn, returned["run_id"])
    assert returned == run
    assert run["run_id"] != parent
    assert (run["flow_slug"], run["input"], run["parent_run_id"]) == ("flow", {"n": 1}, parent)
    assert (run["status"], run["remaining_steps"], run["idempotency_key"]) == ("started", 2, None)
    assert run_row(conn, parent) == before


FROM = {"a": "abcd", "b": "bd", "c": "cd", "d": "d"}


@pytest.mark.parametrize("from_step", FROM)
def test_the_step_and_what_comes_after_it_run_again(conn: psycopg.Connection, from_step: str) -> None:
    parent = diamond(conn)
    work_off(conn, parent, "old")
    run_id = rerun(conn, parent, from_step)
    again = FROM[from_step]
    assert queued(conn, "flow") == [(from_step, 0)]
    work_off(conn, run_id, "new")
    assert run_status(conn, run_id) == "completed"
    outputs = {slug: step_row(conn, run_id, slug)["output"] for slug in "abcd"}
    assert outputs == {slug: [f"{slug} {'new' if slug in again else 'old'}"] for slug in "abcd"}
    assert {s for (s,) in rows(conn, "select step_slug from pgflow.step_tasks where run_id = %s", run_id)} == set(again)


def test_steps_that_run_get_the_outputs_that_were_taken_over(conn: psycopg.Connection) -> None:
    parent = diamond(conn)
    work_off(conn, parent, "old")
    rerun(conn, parent, "d")
    assert inputs(poll(conn, add_our_worker(conn))) == [{"b": ["b old"], "c": ["c old"]}]


def test_another_input_reaches_the_steps_that_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b")
    parent = start(conn, "flow", {"n": 1})
    work_off(conn, parent, "old")
    run_id = rerun(conn, parent, "b", input={"n": 2})
    assert run_row(conn, run_id)["input"] == {"n": 2}
    (task,) = poll_and_start(conn, "flow")
    assert (task.step_slug, task.flow_input) == ("b", {"n": 2})
    assert run_row(conn, rerun(conn, parent, "b", input=Jsonb(None)))["input"] is None


def test_a_map_that_runs_again_gets_its_elements_from_what_was_taken_over(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"), step("z", "m"))
    parent = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, parent, "a", [10, 20, 30])
    work_off(conn, parent, "old")
    run_id = rerun(conn, parent, "m")
    assert step_row(conn, run_id, "m")["initial_tasks"] == 3
    assert inputs(poll(conn, add_our_worker(conn))) == [10, 20, 30]


def test_a_map_that_was_taken_over_is_shown_as_it_was(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("z", "m"))
    parent = start(conn, "flow", [1, 2, 3])
    work_off(conn, parent, "old")
    state = step_row(conn, rerun(conn, parent, "z"), "m")
    assert (state["status"], state["initial_tasks"], state["remaining_tasks"]) == ("completed", 3, 0)
    assert state["output"] == [["m old"]] * 3
    assert state["completed_at"] == state["started_at"] == state["created_at"]


def test_an_empty_map_behind_what_was_taken_over_completes_at_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    parent = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, parent, "a", [])
    run_id = rerun(conn, parent, "m")
    assert (run_status(conn, run_id), run_row(conn, run_id)["output"]) == ("completed", {"m": []})


def test_what_had_not_ended_in_the_given_run_runs_too(conn: psycopg.Connection) -> None:
    parent = diamond(conn, max_attempts=1)
    work_off(conn, parent, "old", "c")
    assert step_status(conn, parent) == {"a": "completed", "b": "completed", "c": "failed", "d": "created"}
    run_id = rerun(conn, parent, "b")
    assert step_status(conn, run_id) == {"a": "completed", "b": "started", "c": "started", "d": "created"}
    assert run_row(conn, run_id)["remaining_steps"] == 3
    work_off(conn, run_id, "new")
    assert run_row(conn, run_id)["output"] == {"d": ["d new"]}


def test_skipped_steps_stay_skipped_unless_they_come_after_it(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        "a",
        step("unmet", required_input_pattern={"yes": True}),
        step("behind", "unmet"),
        step("judged", "a", required_input_pattern={"a": ["a new"]}),
        step("map", "judged", step_type="map"),
    )
    parent = start(conn, "flow")
    work_off(conn, parent, "old")
    run_id = rerun(conn, parent, "a", input={"yes": True})
    unmet = step_row(conn, run_id, "unmet")
    assert (unmet["status"], unmet["skip_reason"]) == ("skipped", "condition_unmet")
    assert step_row(conn, run_id, "judged")["status"] == "created"
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", ["a new"])
    assert step_status(conn, run_id) == {
        "a": "completed", "unmet": "skipped", "behind": "completed", "judged": "started", "map": "created",
    }  # fmt: skip


def test_from_the_first_step_of_a_flow_it_is_a_run_like_any_other(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("z", "m"))
    parent = start(conn, "flow", [1, 2])
    run_id = rerun(conn, parent, "m", input=Jsonb([7, 8, 9]))
    fresh = start(conn, "flow", [7, 8, 9])
    columns = "step_slug, status, remaining_tasks, initial_tasks, remaining_deps"
    shown = [
        rows(conn, f"select {columns} from pgflow.step_states where run_id = %s order by step_slug", r)
        for r in (run_id, fresh)
    ]
    assert shown[0] == shown[1]
    assert run_row(conn, run_id)["remaining_steps"] == run_row(conn, fresh)["remaining_steps"]


def test_the_input_of_a_root_map_must_be_an_array_if_it_runs(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("z", "m"))
    parent = start(conn, "flow", [1])
    work_off(conn, parent, "old")
    with raises("Flow flow has root map steps but input is not an array (got object)"):
        rerun(conn, parent, "m", input={"no": "array"})
    assert value(conn, "select count(*) from pgflow.runs") == 1
    assert step_status(conn, rerun(conn, parent, "z", input={"no": "array"})) == {"m": "completed", "z": "started"}


def test_a_rerun_can_be_rerun_and_retried(conn: psycopg.Connection) -> None:
    parent = diamond(conn, max_attempts=1)
    work_off(conn, parent, "old")
    child = rerun(conn, parent, "b")
    work_off(conn, child, "child", "d")
    assert run_status(conn, child) == "failed"
    grandchild = rerun(conn, child, "d")
    assert step_row(conn, grandchild, "b")["output"] == ["b child"]
    assert step_row(conn, grandchild, "c")["output"] == ["c old"]
    call(conn, "retry_run", run_id=child)
    for run_id in (child, grandchild):
        poll_and_start(conn, "flow")
        complete(conn, run_id, "d", "end")
        assert run_row(conn, run_id)["output"] == {"d": "end"}


def test_it_needs_nothing_of_the_given_run_once_it_is_there(conn: psycopg.Connection) -> None:
    parent = diamond(conn)
    work_off(conn, parent, "old")
    run_id = rerun(conn, parent, "d")
    for table in ("step_tasks", "step_states", "runs"):
        conn.execute(f"delete from pgflow.{table} where run_id = %s", (parent,))
    work_off(conn, run_id, "new")
    assert run_status(conn, run_id) == "completed"


def test_what_is_not_there_is_said_so(conn: psycopg.Connection) -> None:
    parent = diamond(conn)
    with raises('Flow flow has no step "x": it has a, b, c, d'):
        rerun(conn, parent, "x")
    with raises(f"Run not found: {uuid.UUID(int=7)}", "P0002"):
        rerun(conn, uuid.UUID(int=7), "a")
    assert value(conn, "select count(*) from pgflow.runs") == 1


def test_of_many_steps_the_first_are_named(conn: psycopg.Connection) -> None:
    conn.execute("select pgflow.create_flow('wide')")
    conn.execute("select pgflow.add_step('wide', 's' || n) from generate_series(0, 21) n")
    run_id = value(conn, "select run_id from pgflow.start_flow('wide', '{}')")
    with raises(f'Flow wide has no step "x": it has {", ".join(f"s{n}" for n in range(20))}, …'):
        rerun(conn, run_id, "x")


def test_events_tell_of_what_runs_only(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    parent = diamond(conn)
    work_off(conn, parent, "old")
    forget_events(conn)
    run_id = rerun(conn, parent, "d")
    assert sent(conn) == sent(conn, run_id) == ["run:started", "step:d:started"]
    assert payload(conn, "run:started")["remaining_steps"] == 1


def test_a_step_that_is_missing_in_the_given_run_runs(conn: psycopg.Connection) -> None:
    parent = diamond(conn)
    work_off(conn, parent, "old")
    conn.execute("select pgflow.add_step('flow', 'e', '{a}')")
    run_id = rerun(conn, parent, "d")
    assert step_status(conn, run_id)["e"] == "started"
    work_off(conn, run_id, "new")
    output: Row = run_row(conn, run_id)["output"]
    assert output == {"d": ["d new"], "e": ["e new"]}
