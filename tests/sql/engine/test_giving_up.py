"""Giving up after three stalls, fail_stalled_tasks, and requeue_stalled_tasks with leases."""

from __future__ import annotations

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Task
from tests.sql.engine.work import (
    add_our_worker,
    backdate_start,
    completed,
    fail_stalled,
    failed,
    lapse,
    poll,
    poll_one,
    released,
    run,
    settle,
    wait_for_server_grace,
)
from tests.sql.flows import (
    archived,
    complete,
    create_flow,
    fail,
    make_visible,
    poll_and_start,
    queued,
    run_row,
    run_status,
    start,
    start_tasks,
    step,
    step_row,
    step_status,
    task_row,
    task_status,
)
from tests.support import rows


def stall(conn: psycopg.Connection) -> list[Task]:
    """All leased tasks lapse under a worker that is gone, and somebody polls."""
    lapse(conn)
    conn.execute("update pgflow.workers set stopped_at = now()")
    return poll(conn, add_our_worker(conn))


def give_up(conn: psycopg.Connection) -> Task:
    """The one task, after it stalled four times."""
    task = poll_one(conn, add_our_worker(conn))
    for _ in range(3):
        (task,) = stall(conn)
    assert stall(conn) == []
    return task


def test_a_task_that_stalls_a_fourth_time_is_given_up(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", max_attempts=99)
    run_id = start(conn, "flow")
    task = give_up(conn)
    row = task_row(conn, run_id, "a")
    assert task.fence == row["fence"] == 4
    assert (row["status"], row["requeued_count"]) == ("started", 3)
    assert row["permanently_stalled_at"] >= row["started_at"]
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("a", 0)])
    assert run_status(conn, run_id) == "started"


@pytest.mark.parametrize(
    ("when_exhausted", "steps", "run_ends"),
    [
        ("fail", {"a": "failed", "b": "created", "c": "created"}, "failed"),
        ("skip", {"a": "skipped", "b": "started", "c": "created"}, "started"),
        ("skip-cascade", {"a": "skipped", "b": "skipped", "c": "skipped"}, "completed"),
    ],
)
def test_what_was_given_up_fails_its_step_by_when_exhausted(
    conn: psycopg.Connection, when_exhausted: str, steps: dict[str, str], run_ends: str
) -> None:
    create_flow(conn, "flow", step("a", when_exhausted=when_exhausted), step("b", "a"), step("c", "b"))
    run_id = start(conn, "flow")
    give_up(conn)
    assert fail_stalled(conn) == 1
    assert step_status(conn, run_id) == steps
    assert run_status(conn, run_id) == run_ends
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["error_message"]) == ("failed", "Task stalled 3 times")
    assert step_row(conn, run_id, "a")["error_message"] == "Task stalled 3 times"
    assert fail_stalled(conn) == 0


def test_what_requeueing_gave_up_is_failed_too(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=1)
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    for _ in range(3):
        backdate_start(conn, 100)
        assert run(conn, calls.requeue_stalled_tasks()) == 1
        poll_and_start(conn, "flow")
    backdate_start(conn, 100)
    assert run(conn, calls.requeue_stalled_tasks()) == 0
    assert (task_status(conn, run_id, "a"), queued(conn, "flow")) == (["started"], [])
    assert fail_stalled(conn) == 1
    assert run_row(conn, run_id)["error_message"] == "Task stalled 3 times"


def test_several_given_up_tasks_of_one_step_fail_it_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map", when_exhausted="skip"), "other")
    run_id = start(conn, "flow", [1, 2, 3])
    poll(conn, add_our_worker(conn))
    conn.execute(
        "update pgflow.step_tasks set permanently_stalled_at = now(), requeued_count = 3 where step_slug = 'm'"
    )
    assert fail_stalled(conn) == 1
    assert task_status(conn, run_id, "m") == ["failed", "started", "started"]
    assert run_row(conn, run_id)["remaining_steps"] == 1


def test_given_up_tasks_of_several_runs_fail_in_one_call(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_ids = [start(conn, "flow") for _ in range(3)]
    poll(conn, add_our_worker(conn))
    conn.execute("update pgflow.step_tasks set permanently_stalled_at = now()")
    assert fail_stalled(conn) == 3
    assert [run_status(conn, r) for r in run_ids] == ["failed"] * 3


@pytest.mark.parametrize("close", [complete, fail])
def test_what_was_given_up_and_then_closed_is_left_alone(conn: psycopg.Connection, close) -> None:
    create_flow(conn, "flow", "a", "b", max_attempts=1)
    run_id = start(conn, "flow")
    poll(conn, add_our_worker(conn))
    conn.execute("update pgflow.step_tasks set permanently_stalled_at = now() where step_slug = 'a'")
    close(conn, run_id, "a")
    assert fail_stalled(conn) == 0


def test_a_late_result_of_a_given_up_task_still_counts(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    task = give_up(conn)
    assert settle(conn, add_our_worker(conn), completed(task, 1)) == ["applied"]
    assert fail_stalled(conn) == 0
    assert run_row(conn, run_id)["output"] == {"a": 1}


@pytest.mark.parametrize("outcome", [released, lambda task: failed(task, retry_in=0)])
def test_a_given_up_task_that_is_put_back_can_be_started_again(conn: psycopg.Connection, outcome) -> None:
    create_flow(conn, "flow", "a", max_attempts=99)
    run_id = start(conn, "flow")
    task = give_up(conn)
    worker = add_our_worker(conn)
    assert settle(conn, worker, outcome(task)) == ["applied"]
    again = poll_one(conn, worker)
    assert again.fence == task.fence + 1
    assert settle(conn, worker, completed(again)) == ["applied"]
    assert run_status(conn, run_id) == "completed"


def test_a_given_up_task_that_the_contract_retries_can_be_started_again(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", max_attempts=99, base_delay=0)
    run_id = start(conn, "flow")
    give_up(conn)
    fail(conn, run_id, "a")
    assert task_status(conn, run_id, "a") == ["queued"]
    assert poll_one(conn, add_our_worker(conn)).step_slug == "a"


@pytest.mark.parametrize("requeued_count", [0, 3, 7])
@pytest.mark.parametrize("claim", ["poll", "start_tasks"])
def test_a_queued_task_is_startable_however_often_it_stalled(
    conn: psycopg.Connection, requeued_count: int, claim: str
) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    conn.execute("update pgflow.step_tasks set requeued_count = %s, attempts_count = 9", (requeued_count,))
    worker = add_our_worker(conn)
    if claim == "poll":
        poll_one(conn, worker)
    else:
        start_tasks(conn, "flow", [task_row(conn, run_id, "a")["message_id"]], worker)
    assert task_status(conn, run_id, "a") == ["started"]


# ------------------------------------------------------------------------------- requeue_stalled_tasks


def test_a_foreign_workers_task_is_requeued_after_its_timeout_and_half_a_minute(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", timeout=50), timeout=1)
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    backdate_start(conn, 75)
    assert run(conn, calls.requeue_stalled_tasks()) == 0
    backdate_start(conn, 10)
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    row = task_row(conn, run_id, "a")
    assert (row["status"], row["started_at"], row["last_worker_id"]) == ("queued", None, None)
    assert (row["requeued_count"], row["attempts_count"]) == (1, 1)
    assert poll_one(conn, add_our_worker(conn)).attempt == 2


def test_a_foreign_workers_task_is_polled_after_its_timeout_and_half_a_minute(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=50)
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    backdate_start(conn, 85)
    make_visible(conn, "flow")
    wait_for_server_grace(conn)
    assert poll_one(conn, add_our_worker(conn)).fence == 2
    assert task_row(conn, run_id, "a")["requeued_count"] == 1


def test_a_leased_task_past_its_time_is_requeued_and_loses_its_lease(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=1)
    run_id = start(conn, "flow")
    poll_one(conn, add_our_worker(conn))
    wait_for_server_grace(conn)
    backdate_start(conn, 100)
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    assert task_row(conn, run_id, "a")["leased_until"] is None


@pytest.mark.parametrize("lose", ["delete from pgmq.q_flow", "select pgmq.archive('flow', msg_id) from pgmq.q_flow"])
def test_a_requeued_task_whose_message_is_gone_gets_a_new_one(conn: psycopg.Connection, lose: str) -> None:
    create_flow(conn, "flow", "a", timeout=1)
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    backdate_start(conn, 100)
    old = task_row(conn, run_id, "a")["message_id"]
    conn.execute(lose)
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    assert task_row(conn, run_id, "a")["message_id"] > old
    assert queued(conn, "flow") == [("a", 0)]
    assert poll_one(conn, add_our_worker(conn)).step_slug == "a"


def test_a_requeued_task_without_a_message_id_gets_a_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=1)
    start(conn, "flow")
    poll_and_start(conn, "flow")
    backdate_start(conn, 100)
    conn.execute("update pgflow.step_tasks set message_id = null")
    conn.execute("delete from pgmq.q_flow")
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    assert poll_one(conn, add_our_worker(conn)).step_slug == "a"


def test_a_requeued_task_of_a_run_that_ended_gets_no_new_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b", timeout=1, max_attempts=1)
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a")
    backdate_start(conn, 100)
    run(conn, calls.requeue_stalled_tasks())
    assert rows(conn, "select * from pgmq.q_flow") == []
