"""NOTIFY: pgflow_work when there is something to fetch, pgflow_run when a run ends."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    Heard,
    add_our_worker,
    backdate_start,
    completed,
    extend,
    fail_stalled,
    failed,
    poll,
    poll_one,
    released,
    run,
    settle,
)
from tests.sql.flows import complete, create_flow, fail, poll_and_start, start, step
from tests.support import rows


def test_starting_runs_wakes_their_flow_once_per_transaction(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), "b")
    create_flow(conn, "other", "a")
    assert heard() == []
    run(conn, calls.start_flows("flow", [b"[1, 2, 3]"] * 4))
    assert heard() == [("pgflow_work", "flow")]
    with conn.transaction():
        start(conn, "flow", [1])
        start(conn, "flow", [1])
        start(conn, "other")
    assert heard() == [("pgflow_work", "flow"), ("pgflow_work", "other")]


def test_a_step_that_becomes_ready_wakes_the_flow(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    heard()
    settle(conn, worker, completed(task))
    assert heard() == [("pgflow_work", "flow")]


@pytest.mark.parametrize(
    ("qty", "flows", "delay", "others_are_woken"),
    [
        (2, ["flow"], None, True),
        (3, ["flow"], None, False),
        (1, ["flow"], None, True),
        (0, ["flow"], None, True),
        (3, ["other"], None, True),
        (3, ["flow"], 1, True),
    ],
)
def test_who_settles_and_polls_wakes_others_only_for_what_it_leaves(
    conn: psycopg.Connection, heard: Heard, qty: int, flows: list[str], delay: int | None, others_are_woken: bool
) -> None:
    create_flow(conn, "other", "a")
    create_flow(conn, "flow", "a", step("b", "a", start_delay=delay), step("c", "a", start_delay=delay))
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    heard()
    call = calls.settle_and_poll(worker, [completed(task)], flows, qty=qty, lease=60)
    _, polled = run(conn, call)
    fetches = flows == ["flow"] and delay is None
    assert len(polled.tasks) == (min(qty, 2) if fetches else 0)
    # with qty = 2 it cannot know that these were all
    assert heard() == [("pgflow_work", "flow")] * others_are_woken


def test_what_is_settled_later_in_the_transaction_wakes_the_flow(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    start(conn, "flow")
    start(conn, "flow")
    worker = add_our_worker(conn)
    one, two = poll(conn, worker)
    heard()
    with conn.transaction():
        run(conn, calls.settle_and_poll(worker, [completed(one)], ["flow"], qty=9, lease=60))
        settle(conn, worker, completed(two))
    assert heard() == [("pgflow_work", "flow")]


@pytest.mark.parametrize("outcome", [released, failed])
def test_what_is_put_back_wakes_the_flow_once(conn: psycopg.Connection, heard: Heard, outcome) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", [1, 2, 3])
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    heard()
    settle(conn, worker, *map(outcome, tasks))
    assert heard() == [("pgflow_work", "flow")]


def test_a_contract_retry_wakes_the_flow(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    heard()
    fail(conn, run_id, "a")
    assert heard() == [("pgflow_work", "flow")]


def test_requeueing_wakes_the_flows_concerned(conn: psycopg.Connection, heard: Heard) -> None:
    for slug in ("one", "two", "three"):
        create_flow(conn, slug, "a", "b")
        start(conn, slug)
    poll_and_start(conn, "one")
    poll_and_start(conn, "three")
    backdate_start(conn, 1000)
    heard()
    run(conn, calls.requeue_stalled_tasks())
    assert heard() == [("pgflow_work", "one"), ("pgflow_work", "three")]
    run(conn, calls.requeue_stalled_tasks())
    assert heard() == []


def test_working_without_new_messages_wakes_nobody(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", [1, 2])
    heard()
    worker = add_our_worker(conn)
    first, second = poll(conn, worker)
    extend(conn, worker, first.key, second.key)
    settle(conn, worker, completed(first))
    fail_stalled(conn)
    assert heard() == []


def ended(conn: psycopg.Connection, run_id: uuid.UUID) -> tuple[str, str]:
    status = rows(conn, "select status from pgflow.runs where run_id = %s", run_id)[0][0]
    assert status != "started"
    return "pgflow_run", f"{run_id} {status}"


def test_every_run_that_completes_in_a_batch_is_told(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", "a")
    run_ids = [start(conn, "flow") for _ in range(3)]
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    heard()
    settle(conn, worker, *map(completed, tasks))
    assert heard() == sorted(ended(conn, r) for r in run_ids)


@pytest.mark.parametrize("by", ["settle_tasks", "fail_task", "fail_stalled_tasks", "type violation"])
def test_a_run_that_fails_is_told(conn: psycopg.Connection, heard: Heard, by: str) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"), max_attempts=1)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    heard()
    match by:
        case "settle_tasks":
            settle(conn, worker, failed(task))
        case "fail_task":
            fail(conn, run_id, "a")
        case "fail_stalled_tasks":
            conn.execute("update pgflow.step_tasks set permanently_stalled_at = now()")
            fail_stalled(conn)
        case "type violation":
            settle(conn, worker, completed(task, "no array"))
    assert heard() == [("pgflow_run", f"{run_id} failed")]


def test_a_run_that_a_contract_call_completes_is_told(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    heard()
    complete(conn, run_id, "a")
    assert heard() == [("pgflow_run", f"{run_id} completed")]


def test_runs_that_end_as_they_start_are_told(conn: psycopg.Connection, heard: Heard) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    create_flow(conn, "strict", step("a", required_input_pattern={"x": 1}, when_unmet="fail"))
    empty = start(conn, "flow", [])
    unmet = start(conn, "strict", {})
    assert heard() == sorted([ended(conn, empty), ended(conn, unmet)])
