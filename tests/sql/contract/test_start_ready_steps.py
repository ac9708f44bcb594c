"""pgflow.start_ready_steps."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.flows import call, create_flow, queued, run_status, start, step, step_row, step_status, visible_in
from tests.support import rows, value


def start_ready(conn: psycopg.Connection, run: uuid.UUID) -> None:
    call(conn, "start_ready_steps", run_id=run)


def set_state(conn: psycopg.Connection, run: uuid.UUID, slug: str, **columns: Any) -> None:
    assigned = ", ".join(f"{name} = %s" for name in columns)
    sql = f"update pgflow.step_states set {assigned} where run_id = %s and step_slug = %s"
    conn.execute(sql, [*columns.values(), run, slug])


def test_a_ready_step_starts_with_all_its_tasks(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow")
    set_state(trial, run, "b", remaining_deps=0)
    start_ready(trial, run)
    state = step_row(trial, run, "b")
    assert (state["status"], state["remaining_tasks"], state["initial_tasks"]) == ("started", 1, 1)
    assert state["started_at"] == value(trial, "select now()")
    assert queued(trial, "flow") == [("a", 0), ("b", 0)]


@pytest.mark.parametrize(
    "columns",
    [
        {"remaining_deps": 1},
        {"remaining_deps": 0, "initial_tasks": None},
        {"remaining_deps": 0, "initial_tasks": 0},
        {"remaining_deps": 0, "status": "skipped", "skip_reason": "x"},
        {"remaining_deps": 0, "status": "failed"},
        {"remaining_deps": 0, "status": "completed", "remaining_tasks": 0},
        {"remaining_deps": 0, "status": "started"},
    ],
)
def test_any_other_step_stays_as_it_is(trial: psycopg.Connection, columns: dict[str, Any]) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow")
    set_state(trial, run, "b", **columns)
    before = step_row(trial, run, "b")
    start_ready(trial, run)
    assert step_row(trial, run, "b") == before
    assert queued(trial, "flow") == [("a", 0)]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_nothing_starts_on_a_terminal_run(trial: psycopg.Connection, status: str) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow")
    set_state(trial, run, "b", remaining_deps=0)
    trial.execute("update pgflow.runs set status = %s", (status,))
    start_ready(trial, run)
    assert step_status(trial, run)["b"] == "created"
    assert queued(trial, "flow") == [("a", 0)]


def test_a_second_call_does_nothing(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow")
    set_state(trial, run, "b", remaining_deps=0)
    start_ready(trial, run)
    start_ready(trial, run)
    assert queued(trial, "flow") == [("a", 0), ("b", 0)]


def test_an_unknown_run_is_no_error(trial: psycopg.Connection) -> None:
    start_ready(trial, uuid.uuid4())


def test_it_does_not_complete_the_run(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute("update pgflow.runs set remaining_steps = 0")
    start_ready(trial, run)
    assert run_status(trial, run) == "started"


def test_other_runs_are_left_alone(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run, other = start(trial, "flow"), start(trial, "flow")
    for each in (run, other):
        set_state(trial, each, "b", remaining_deps=0)
    start_ready(trial, run)
    assert (step_status(trial, run)["b"], step_status(trial, other)["b"]) == ("started", "created")


def test_a_message_says_just_which_task_it_is_for(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    run = start(trial, "flow", ["x", "y"])
    assert rows(trial, "select message from pgmq.q_flow order by msg_id") == [
        ({"flow_slug": "flow", "run_id": str(run), "step_slug": "m", "task_index": 0},),
        ({"flow_slug": "flow", "run_id": str(run), "step_slug": "m", "task_index": 1},),
    ]


def test_a_task_knows_its_message(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("m", step_type="map"))
    start(trial, "flow", ["x", "y", "z"])
    assert rows(
        trial,
        """select t.step_slug, t.task_index, t.status, t.attempts_count, t.flow_slug,
                  t.run_id::text = q.message ->> 'run_id'
           from pgflow.step_tasks t join pgmq.q_flow q on q.msg_id = t.message_id
            and q.message ->> 'step_slug' = t.step_slug and (q.message ->> 'task_index')::int = t.task_index
           order by 1, 2""",
    ) == [
        ("a", 0, "queued", 0, "flow", True),
        ("m", 0, "queued", 0, "flow", True),
        ("m", 1, "queued", 0, "flow", True),
        ("m", 2, "queued", 0, "flow", True),
    ]


def test_messages_rise_by_slug_and_index(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("z", step_type="map"), "y", step("b", step_type="map"), "a")
    start(trial, "flow", list(range(11)))
    assert queued(trial, "flow") == [
        ("a", 0),
        *(("b", i) for i in range(11)),
        ("y", 0),
        *(("z", i) for i in range(11)),
    ]


def test_a_message_is_visible_at_once(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow")
    assert value(trial, "select count(*) from pgmq.read('flow', 1, 10)") == 1


def test_a_start_delay_hides_the_message(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("b", start_delay=600))
    start(trial, "flow")
    assert rows(trial, "select message ->> 'step_slug' from pgmq.read('flow', 1, 10)") == [("a",)]
    [msg] = rows(trial, "select message_id from pgflow.step_tasks where step_slug = 'b'")
    assert 570 < visible_in(trial, "flow", *msg) <= 600


def test_started_at_is_never_before_created_at(dsn: str, conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    with psycopg.connect(dsn) as older:
        older.execute("select now()")
        run = start(conn, "flow")
        set_state(conn, run, "b", remaining_deps=0)
        start_ready(older, run)
    state = step_row(conn, run, "b")
    assert state["started_at"] == state["created_at"]
