"""cancel_run: failed for the contract's clients, cancelled for ours; nothing of the run starts any more."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import add_our_worker, completed, extend, failed, poll, poll_one, run, settle
from tests.sql.flows import (
    archived,
    call,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    raises,
    run_row,
    start,
    start_tasks,
    step,
    step_status,
    task_row,
    task_status,
)
from tests.sql.lifecycle.stand_ins import add_realtime, payload
from tests.support import rows, value


def cancel(conn: psycopg.Connection, run_id: uuid.UUID, reason: str | None = "no use") -> None:
    call(conn, "cancel_run", run_id=run_id, reason=reason)


def test_the_stored_run_has_failed_and_cancelled_at_says_what_it_was(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    (returned,) = call(conn, "cancel_run", run_id=run_id, reason="wrong list")
    run = run_row(conn, run_id)
    assert returned == run
    assert (run["status"], run["error_message"]) == ("failed", "Cancelled: wrong list")
    assert run["failed_at"] == run["cancelled_at"] >= run["started_at"]
    assert run["completed_at"] is None


@pytest.mark.parametrize("reason", [None, ""])
def test_a_reason_is_not_needed(conn: psycopg.Connection, reason: str | None) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    cancel(conn, run_id, reason)
    assert run_row(conn, run_id)["error_message"] == "Cancelled"


def test_everything_of_ours_shows_it_as_cancelled(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    assert run(conn, calls.cancel_run(run_id, "x")).status == "cancelled"
    snapshot = run(conn, calls.get_run(run_id))
    assert snapshot is not None
    assert (snapshot.status, snapshot.error, snapshot.failed_task) == ("cancelled", "Cancelled: x", None)
    assert [r.status for r in run(conn, calls.list_runs("flow", "cancelled", 5, None))] == ["cancelled"]
    assert run(conn, calls.list_runs("flow", "failed", 5, None)) == []


def test_run_failed_is_told_and_waiters_learn_that_it_was_cancelled(conn: psycopg.Connection, dsn: str) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_run")
        cancel(conn, run_id)
        note = next(listener.notifies(timeout=20, stop_after=1))
    assert note.payload == f"{run_id} cancelled"
    assert payload(conn, "run:failed")["error_message"] == "Cancelled: no use"


def test_messages_are_archived_and_rows_stay_as_they_are(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("after", "m"))
    run_id, other = start(conn, "flow", [1, 2, 3]), start(conn, "flow", [4])
    worker = add_our_worker(conn)
    poll(conn, worker, qty=1)
    cancel(conn, run_id)
    assert queued(conn, "flow") == [("m", 0)]
    assert archived(conn, "flow") == [("m", 0), ("m", 1), ("m", 2)]
    assert task_status(conn, run_id, "m") == ["started", "queued", "queued"]
    assert step_status(conn, run_id) == {"m": "started", "after": "created"}
    assert [t.run_id for t in poll(conn, worker)] == [other]


def test_no_task_of_it_can_be_started(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    msg_id = task_row(conn, run_id, "a")["message_id"]
    cancel(conn, run_id)
    assert start_tasks(conn, "flow", [msg_id], uuid.uuid4()) == []
    assert poll(conn, add_our_worker(conn)) == []


def test_workers_learn_it_from_the_verdict_and_from_the_heartbeat(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    worker = add_our_worker(conn)
    one, two = poll(conn, worker)
    assert extend(conn, worker, one.key, two.key) == []
    cancel(conn, run_id)
    assert settle(conn, worker, completed(one), failed(two)) == ["gone", "gone"]
    assert extend(conn, worker, one.key, two.key) == [one.key, two.key]
    assert run_row(conn, run_id)["cancelled_at"] is not None


@pytest.mark.parametrize("close", [complete, fail])
def test_late_calls_of_foreign_workers_change_no_run(conn: psycopg.Connection, close) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    cancel(conn, run_id)
    before = run_row(conn, run_id)
    close(conn, run_id, "a", "late")
    assert run_row(conn, run_id) == before
    assert step_status(conn, run_id) == {"a": "started"}


def test_cancelling_again_changes_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    cancel(conn, run_id, "first")
    before = run_row(conn, run_id)
    cancel(conn, run_id, "second")
    assert run_row(conn, run_id) == before


def test_a_run_that_has_ended_cannot_be_cancelled(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1))
    done, broken = start(conn, "flow"), start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, done, "a")
    fail(conn, broken, "a")
    for run_id, status in ((done, "completed"), (broken, "failed")):
        with raises(f"Run {run_id} has {status} and cannot be cancelled", "55000"):
            cancel(conn, run_id)
        assert run_row(conn, run_id)["cancelled_at"] is None


def test_an_unknown_run_is_said_so(conn: psycopg.Connection) -> None:
    for function in ("cancel_run", "retry_run"):
        with raises(f"Run not found: {uuid.UUID(int=7)}", "P0002"):
            call(conn, function, run_id=uuid.UUID(int=7))


def test_a_delayed_run_can_be_cancelled(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", start_delay=3600))
    run_id = start(conn, "flow")
    cancel(conn, run_id)
    assert queued(conn, "flow") == []


def test_deleting_and_pruning_include_cancelled_runs(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    old, young = start(conn, "flow"), start(conn, "flow")
    cancel(conn, old)
    cancel(conn, young)
    ago = "now() - interval '2 days'"
    conn.execute(
        f"update pgflow.runs set started_at = {ago}, failed_at = {ago}, cancelled_at = {ago} where run_id = %s", (old,)
    )
    conn.execute("select pgflow.prune_data_older_than('1 day')")
    assert rows(conn, "select run_id from pgflow.runs") == [(young,)]
    conn.execute("select pgflow.delete_flow_and_data('flow')")
    assert value(conn, "select count(*) from pgflow.runs") == 0


def test_what_was_completed_before_is_kept(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, completed(poll_one(conn, worker), 1))
    cancel(conn, run_id)
    assert step_status(conn, run_id) == {"a": "completed", "b": "started"}
    assert task_row(conn, run_id, "a")["output"] == 1
