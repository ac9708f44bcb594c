"""pgflow.start_tasks."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.flows import (
    add_worker,
    complete,
    create_flow,
    fail,
    make_visible,
    poll_and_start,
    start,
    start_tasks,
    step,
    task_row,
    task_status,
    visible_in,
)
from tests.support import rows, value


def messages(conn: psycopg.Connection, slug: str = "flow") -> list[int]:
    return [m for (m,) in rows(conn, f"select msg_id from pgmq.q_{slug} order by 1")]


def test_a_task_is_started(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run, worker = start(trial, "flow", {"x": 1}), add_worker(trial, "flow")
    [msg] = messages(trial)
    [record] = start_tasks(trial, "flow", [msg], worker)
    assert record._asdict() == {
        "flow_slug": "flow",
        "run_id": run,
        "step_slug": "a",
        "input": {},
        "msg_id": msg,
        "task_index": 0,
        "flow_input": {"x": 1},
    }
    task = task_row(trial, run, "a")
    assert (task["status"], task["attempts_count"], task["last_worker_id"]) == ("started", 1, worker)
    assert task["started_at"] == value(trial, "select now()")


@pytest.mark.parametrize(("options", "seconds"), [({}, 102), ({"timeout": 200}, 202)])
def test_the_message_is_hidden_for_the_timeout_and_2_seconds(
    trial: psycopg.Connection, options: dict[str, int], seconds: int
) -> None:
    create_flow(trial, "flow", step("a", **options), timeout=100)
    start(trial, "flow")
    [msg] = messages(trial)
    start_tasks(trial, "flow", [msg], add_worker(trial, "flow"))
    assert seconds - 30 < visible_in(trial, "flow", msg) <= seconds


def test_a_message_need_not_have_been_read_or_be_visible(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("a", start_delay=1000))
    start(trial, "flow")
    assert len(start_tasks(trial, "flow", messages(trial), add_worker(trial, "flow"))) == 1
    assert value(trial, "select read_ct from pgmq.q_flow") == 0


def test_only_the_tasks_of_these_messages_are_started(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    run = start(trial, "flow", ["x", "y", "z"])
    _, second, _ = messages(trial)
    assert [r.task_index for r in start_tasks(trial, "flow", [second], add_worker(trial, "flow"))] == [1]
    assert task_status(trial, run, "m") == ["queued", "started", "queued"]


def test_a_batch_over_steps_and_runs_is_started_whole(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("m", step_type="map", timeout=1000), timeout=100)
    runs = [start(trial, "flow", ["x", "y"]), start(trial, "flow", ["z"])]
    started = start_tasks(trial, "flow", messages(trial), add_worker(trial, "flow"))
    assert {(r.run_id, r.step_slug, r.task_index): r.input for r in started} == {
        (runs[0], "a", 0): {},
        (runs[0], "m", 0): "x",
        (runs[0], "m", 1): "y",
        (runs[1], "a", 0): {},
        (runs[1], "m", 0): "z",
    }
    hidden = {r.step_slug: visible_in(trial, "flow", r.msg_id) for r in started}
    assert 70 < hidden["a"] <= 102
    assert 970 < hidden["m"] <= 1002


@pytest.mark.parametrize("msg_ids", [None, []])
def test_no_messages_are_no_tasks(trial: psycopg.Connection, msg_ids: list[int] | None) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow")
    assert start_tasks(trial, "flow", msg_ids, uuid.uuid4()) == []  # type: ignore[arg-type]


def test_an_unknown_flow_has_no_tasks(trial: psycopg.Connection) -> None:
    assert start_tasks(trial, "unknown", [1], uuid.uuid4()) == []


def test_unknown_and_null_messages_are_passed_over(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow")
    [msg] = messages(trial)
    started = start_tasks(trial, "flow", [msg, 9999, None, msg], add_worker(trial, "flow"))  # type: ignore[list-item]
    assert [r.msg_id for r in started] == [msg]


def test_a_started_task_is_not_started_again(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run, worker = start(trial, "flow"), add_worker(trial, "flow")
    start_tasks(trial, "flow", messages(trial), worker)
    before = task_row(trial, run, "a")
    assert start_tasks(trial, "flow", messages(trial), add_worker(trial, "flow")) == []
    assert task_row(trial, run, "a") == before


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_nothing_is_started_under_a_terminal_run(trial: psycopg.Connection, status: str) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute("update pgflow.runs set status = %s", (status,))
    assert start_tasks(trial, "flow", messages(trial), add_worker(trial, "flow")) == []
    assert task_status(trial, run, "a") == ["queued"]


@pytest.mark.parametrize(
    "changed",
    [
        "status = 'created', remaining_tasks = null",
        "status = 'failed'",
        "status = 'completed', remaining_tasks = 0",
        "status = 'skipped', skip_reason = 'x', remaining_tasks = null",
    ],
)
def test_nothing_is_started_under_a_step_that_is_not(trial: psycopg.Connection, changed: str) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute(f"update pgflow.step_states set {changed}")
    assert start_tasks(trial, "flow", messages(trial), add_worker(trial, "flow")) == []
    assert task_status(trial, run, "a") == ["queued"]


def test_messages_of_another_flow_are_passed_over(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    create_flow(trial, "other", step("m", step_type="map"))
    start(trial, "flow")
    other = start(trial, "other", [1, 2, 3])
    started = start_tasks(trial, "flow", messages(trial, "other"), add_worker(trial, "flow"))
    assert {(r.flow_slug, r.step_slug) for r in started} <= {("flow", "a")}
    assert task_status(trial, other, "m") == ["queued"] * 3


MOVES = {
    "popped": ("select pgmq.pop('flow')", 1),
    "archived": ("select pgmq.archive('flow', 1::bigint)", 1),
    "of a number that no message has": ("update pgflow.step_tasks set message_id = 999", 999),
    "of a message that says something else": (
        "select pgmq.send('flow', '{\"x\": 1}'); update pgflow.step_tasks set message_id = 2",
        2,
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_the_tasks_own_message_counts_wherever_it_is(trial: psycopg.Connection, move: str) -> None:
    change, message_id = MOVES[move]
    create_flow(trial, "flow", "a")
    create_flow(trial, "other", "a")
    run = start(trial, "flow")
    start(trial, "other")
    trial.execute(change)
    [record] = start_tasks(trial, "flow", [message_id], add_worker(trial, "flow"))
    assert (record.run_id, record.msg_id, task_status(trial, run, "a")) == (run, message_id, ["started"])
    assert start_tasks(trial, "flow", [message_id], add_worker(trial, "flow")) == []


def test_a_message_that_is_no_longer_the_tasks_own_does_not_count(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute("update pgflow.step_tasks set message_id = 999")
    assert start_tasks(trial, "flow", [1], add_worker(trial, "flow")) == []
    assert task_status(trial, run, "a") == ["queued"]


def test_no_flow_has_no_tasks(trial: psycopg.Connection) -> None:
    assert start_tasks(trial, None, [1], add_worker(trial, "flow")) == []  # type: ignore[arg-type]


def test_a_task_that_was_put_back_can_be_started_again(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", base_delay=0)
    run = start(trial, "flow")
    poll_and_start(trial, "flow")
    fail(trial, run, "a")
    make_visible(trial, "flow")
    worker = add_worker(trial, "flow")
    assert len(poll_and_start(trial, "flow", worker)) == 1
    task = task_row(trial, run, "a")
    assert (task["status"], task["attempts_count"], task["last_worker_id"]) == ("started", 2, worker)


def test_of_two_workers_one_gets_the_task(dsn: str, conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run = start(conn, "flow", list(range(40)))
    msgs, workers = messages(conn), [add_worker(conn, "flow") for _ in range(4)]

    def claim(worker: uuid.UUID) -> list[int]:
        with psycopg.connect(dsn) as each:
            return [r.task_index for r in start_tasks(each, "flow", msgs, worker)]

    with ThreadPoolExecutor(4) as pool:
        got = [index for indexes in pool.map(claim, workers) for index in indexes]
    assert sorted(got) == list(range(40))
    assert rows(conn, "select distinct attempts_count from pgflow.step_tasks where run_id = %s", run) == [(1,)]


@pytest.mark.parametrize("element", [{"x": 1}, [1], "x", 0, False, None, ""])
def test_a_root_map_gets_the_bare_element(trial: psycopg.Connection, element: Any) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    start(trial, "flow", [element])
    [record] = start_tasks(trial, "flow", messages(trial), add_worker(trial, "flow"))
    assert (record.input, record.flow_input) == (element, None)


def test_a_json_null_element_stays_json_null(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    start(trial, "flow", [None])
    sql = "select jsonb_typeof(input) from pgflow.start_tasks('flow', %s, %s)"
    assert rows(trial, sql, messages(trial), uuid.uuid4()) == [("null",)]


def test_a_dependent_map_gets_the_bare_element_of_its_dependency(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("m", "a", step_type="map"), step("n", "m", step_type="map"))
    run = start(trial, "flow", {"x": 1})
    poll_and_start(trial, "flow")
    complete(trial, run, "a", ["x", {"y": 1}])
    assert [(r.input, r.flow_input) for r in poll_and_start(trial, "flow")] == [("x", None), ({"y": 1}, None)]
    complete(trial, run, "m", "second", task_index=1)
    complete(trial, run, "m", ["first"], task_index=0)
    assert [(r.input, r.flow_input) for r in poll_and_start(trial, "flow")] == [(["first"], None), ("second", None)]


def test_a_single_step_gets_its_dependencies_outputs_and_nothing_else(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", step("m", step_type="map"), "other", step("b", "a", "m"))
    run = start(trial, "flow", [1, 2])
    poll_and_start(trial, "flow")
    complete(trial, run, "a", {"deep": [1]})
    complete(trial, run, "other", "not asked for")
    complete(trial, run, "m", 10, task_index=0)
    complete(trial, run, "m", 20, task_index=1)
    [record] = poll_and_start(trial, "flow")
    assert (record.input, record.flow_input) == ({"a": {"deep": [1]}, "m": [10, 20]}, None)


@pytest.mark.parametrize("output", [None, Jsonb(None)])
def test_a_null_output_is_passed_on_as_json_null(trial: psycopg.Connection, output: Jsonb | None) -> None:
    create_flow(trial, "flow", "a", step("b", "a"))
    run = start(trial, "flow")
    poll_and_start(trial, "flow")
    complete(trial, run, "a", output)
    [record] = poll_and_start(trial, "flow")
    assert record.input == {"a": None}


def test_a_skipped_dependencys_key_is_absent(trial: psycopg.Connection) -> None:
    create_flow(
        trial,
        "flow",
        "a",
        step("s", required_input_pattern={"no": 1}),
        step("b", "a", "s"),
        step("c", "s"),
    )
    run = start(trial, "flow", {"x": 1})
    started = {r.step_slug: r for r in poll_and_start(trial, "flow")}
    assert (started["c"].input, started["c"].flow_input) == ({}, None)
    complete(trial, run, "a", 1)
    [record] = poll_and_start(trial, "flow")
    assert (record.step_slug, record.input) == ("b", {"a": 1})


def test_a_task_row_made_by_hand_gets_its_element_too(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    run = start(trial, "flow", ["x", "y"])
    trial.execute("delete from pgflow.step_tasks")
    trial.execute(
        """insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id)
           select 'flow', %s, 'm', (message ->> 'task_index')::int, msg_id from pgmq.q_flow""",
        (run,),
    )
    assert [r.input for r in start_tasks(trial, "flow", messages(trial), uuid.uuid4())] == ["x", "y"]


def test_started_at_is_never_before_queued_at(dsn: str, conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    with psycopg.connect(dsn) as older:
        older.execute("select now()")
        run = start(conn, "flow")
        start_tasks(older, "flow", messages(conn), add_worker(conn, "flow"))
    task = task_row(conn, run, "a")
    assert task["started_at"] == task["queued_at"]
