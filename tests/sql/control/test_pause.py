"""pause_flow and resume_flow: no new claims; what runs goes on."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    add_our_worker,
    completed,
    extend,
    failed,
    lapse,
    poll,
    poll_all,
    poll_one,
    run,
    settle,
)
from tests.sql.flows import (
    call,
    create_flow,
    poll_and_start,
    queued,
    raises,
    run_row,
    run_status,
    start,
    start_tasks,
    step,
    task_row,
)


@pytest.fixture(autouse=True)
def _flow(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), base_delay=0)


def pause(conn: psycopg.Connection) -> None:
    call(conn, "pause_flow", flow_slug="flow")


def resume(conn: psycopg.Connection) -> None:
    call(conn, "resume_flow", flow_slug="flow")


def test_nothing_is_claimed_while_a_flow_is_paused(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    start(conn, "flow")
    pause(conn)
    run_id = start(conn, "flow")
    assert poll(conn, worker) == []
    assert start_tasks(conn, "flow", [task_row(conn, run_id, "a")["message_id"]], uuid.uuid4()) == []
    assert queued(conn, "flow") == [("a", 0), ("a", 0)]
    resume(conn)
    assert len(poll(conn, worker)) == 2


def test_foreign_workers_start_again_after_the_pause(conn: psycopg.Connection) -> None:
    pause(conn)
    run_id = start(conn, "flow")
    resume(conn)
    assert [t.run_id for t in poll_and_start(conn, "flow")] == [run_id]


def test_other_flows_are_not_touched(conn: psycopg.Connection) -> None:
    create_flow(conn, "other", "x")
    start(conn, "flow")
    start(conn, "other")
    pause(conn)
    assert [t.flow_slug for t in poll(conn, add_our_worker(conn), "flow", "other")] == ["other"]


def test_what_runs_goes_on(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    run_id, last = start(conn, "flow"), start(conn, "flow")
    one, two = poll(conn, worker)
    pause(conn)
    assert extend(conn, worker, one.key, two.key) == []
    assert settle(conn, worker, completed(one, 1), failed(two, permanent=True)) == ["applied", "applied"]
    assert {run_status(conn, run_id), run_status(conn, last)} == {"started", "failed"}
    assert queued(conn, "flow") == [("b", 0)]
    assert poll(conn, worker) == []


def test_what_fails_meanwhile_is_tried_again_after_the_pause(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    start(conn, "flow")
    task = poll_one(conn, worker)
    pause(conn)
    assert settle(conn, worker, failed(task)) == ["applied"]
    assert poll(conn, worker) == []
    resume(conn)
    assert poll_one(conn, worker).attempt == 2


def test_a_lapsed_task_waits_for_the_end_of_the_pause(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    start(conn, "flow")
    fence = poll_one(conn, worker).fence
    pause(conn)
    lapse(conn)
    assert poll(conn, worker) == []
    resume(conn)
    assert poll_one(conn, worker).fence == fence + 1


def test_settle_and_poll_fetches_nothing(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    start(conn, "flow")
    task = poll_one(conn, worker)
    pause(conn)
    verdicts, polled = run(conn, calls.settle_and_poll(worker, [completed(task)], ["flow"], qty=5, lease=2))
    assert (verdicts, polled.tasks) == (["applied"], ())


def test_a_poll_is_not_told_to_come_back_for_a_paused_flow(conn: psycopg.Connection) -> None:
    create_flow(conn, "other", step("x", start_delay=1000))
    start(conn, "flow")
    pause(conn)
    worker = add_our_worker(conn)
    assert poll_all(conn, worker, "flow", "other").next_visible_in is None
    start(conn, "other")
    assert poll_all(conn, worker, "flow", "other").next_visible_in > 900
    resume(conn)


def test_pausing_and_resuming_again_change_nothing(conn: psycopg.Connection) -> None:
    (first,) = call(conn, "pause_flow", flow_slug="flow")
    assert call(conn, "pause_flow", flow_slug="flow") == [first]
    assert first["paused_at"] is not None
    (resumed,) = call(conn, "resume_flow", flow_slug="flow")
    assert call(conn, "resume_flow", flow_slug="flow") == [resumed]
    assert resumed["paused_at"] is None


@pytest.mark.parametrize("function", ["pause_flow", "resume_flow"])
def test_an_unknown_flow_is_said_so(conn: psycopg.Connection, function: str) -> None:
    with raises("Flow not found: nope", "23503"):
        call(conn, function, flow_slug="nope")


def test_resuming_wakes_the_workers_once(conn: psycopg.Connection, dsn: str) -> None:
    pause(conn)
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_work")
        resume(conn)
        resume(conn)
        conn.execute("select pg_notify('pgflow_work', 'end')")
        heard = [n.payload for n in listener.notifies(timeout=20, stop_after=2)]
    assert heard == ["flow", "end"]


def test_runs_of_a_paused_flow_can_be_cancelled_and_retried(conn: psycopg.Connection) -> None:
    pause(conn)
    run_id = start(conn, "flow")
    call(conn, "cancel_run", run_id=run_id)
    call(conn, "retry_run", run_id=run_id)
    assert run_row(conn, run_id)["status"] == "started"
    assert poll(conn, add_our_worker(conn)) == []
