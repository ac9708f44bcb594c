"""requeue_stalled_tasks: what was started too long ago is put back three times, then given up."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.flows import (
    add_worker,
    archived,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    run_row,
    run_status,
    start,
    step,
    step_row,
    step_status,
    task_row,
    task_status,
    visible_in,
)
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, sent
from tests.support import value


def started(conn: psycopg.Connection, **options: Any) -> uuid.UUID:
    """A run whose step `a` is being worked on; its timeout is 60 s unless told otherwise."""
    create_flow(conn, "flow", step("a", **options))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    return run_id


def age(conn: psycopg.Connection, seconds: float, where: str = "true") -> None:
    """Started tasks have been so for so long."""
    conn.execute(
        f"""update pgflow.step_tasks set queued_at = now() - make_interval(secs => %s + 60),
              started_at = now() - make_interval(secs => %s) where status = 'started' and {where}""",
        (seconds, seconds),
    )


def requeue(conn: psycopg.Connection) -> int:
    count: int = value(conn, "select pgflow.requeue_stalled_tasks()")
    return count


def stall(conn: psycopg.Connection, times: int) -> None:
    """Lets the started tasks of `flow` stall and start again so many times."""
    for _ in range(times):
        age(conn, 1000)
        assert requeue(conn) > 0
        poll_and_start(conn, "flow")


def test_a_stalled_task_is_queued_again_and_visible_at_once(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    age(conn, 91)
    assert requeue(conn) == 1
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["started_at"], task["last_worker_id"]) == ("queued", None, None)
    assert (task["requeued_count"], task["attempts_count"], task["permanently_stalled_at"]) == (1, 1, None)
    assert task["last_requeued_at"] is not None
    assert visible_in(conn, "flow", task["message_id"]) <= 0


def test_a_requeued_task_starts_again_as_the_next_attempt(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    age(conn, 91)
    requeue(conn)
    assert [t.step_slug for t in poll_and_start(conn, "flow")] == ["a"]
    assert task_row(conn, run_id, "a")["attempts_count"] == 2


@pytest.mark.parametrize(
    ("seconds", "flow_timeout", "step_timeout", "requeued"),
    [(89, 60, None, 0), (91, 60, None, 1), (39, 10, None, 0), (41, 10, None, 1), (91, 60, 600, 0), (41, 60, 10, 1)],
)
def test_stalled_means_longer_than_the_timeout_and_thirty_seconds(
    conn: psycopg.Connection, seconds: int, flow_timeout: int, step_timeout: int | None, requeued: int
) -> None:
    create_flow(conn, "flow", step("a", timeout=step_timeout), timeout=flow_timeout)
    start(conn, "flow")
    poll_and_start(conn, "flow")
    age(conn, seconds)
    assert requeue(conn) == requeued


def test_only_started_tasks_are_requeued(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("waiting", start_delay=60), step("done"), step("bad", max_attempts=1))
    run_id = start(conn, "flow")
    other = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "done", 1)
    fail(conn, other, "bad")
    conn.execute(
        """update pgflow.step_tasks set queued_at = now() - interval '1 day',
             started_at = started_at - interval '1 hour'
            where status <> 'started'"""
    )
    assert requeue(conn) == 0


def test_it_returns_how_many_were_requeued_over_all_flows(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), "other")
    create_flow(conn, "second", "a")
    start(conn, "flow", [1, 2, 3])
    start(conn, "second")
    poll_and_start(conn, "flow")
    poll_and_start(conn, "second")
    age(conn, 91, "step_slug <> 'other'")
    assert requeue(conn) == 4
    assert requeue(conn) == 0


def test_a_task_is_put_back_three_times_and_then_given_up(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    stall(conn, 3)
    age(conn, 1000)
    before = task_row(conn, run_id, "a")
    assert before["requeued_count"] == 3
    assert requeue(conn) == 0
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["requeued_count"], task["attempts_count"]) == ("started", 3, 4)
    assert task["permanently_stalled_at"] is not None
    assert (task["started_at"], task["last_worker_id"], task["last_requeued_at"]) == (
        before["started_at"],
        before["last_worker_id"],
        before["last_requeued_at"],
    )
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("a", 0)])


def test_what_was_given_up_is_left_alone(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    stall(conn, 3)
    age(conn, 1000)
    requeue(conn)
    before = task_row(conn, run_id, "a")
    assert requeue(conn) == 0
    assert task_row(conn, run_id, "a") == before


def test_only_those_requeued_are_counted_where_others_are_given_up(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    conn.execute("update pgflow.step_tasks set requeued_count = 3 where task_index = 1")
    age(conn, 1000)
    assert requeue(conn) == 1
    assert task_status(conn, run_id, "m") == ["queued", "started"]
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([("m", 0)], [("m", 1)])


def test_step_and_run_go_on_as_they_were_and_nothing_is_told(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    run_id = started(conn)
    before = run_row(conn, run_id), step_row(conn, run_id, "a")
    forget_events(conn)
    stall(conn, 3)
    age(conn, 1000)
    requeue(conn)
    assert (run_row(conn, run_id), step_row(conn, run_id, "a")) == before
    assert sent(conn) == []


def test_a_task_that_somebody_holds_is_skipped_without_waiting(conn: psycopg.Connection, dsn: str) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    age(conn, 91)
    with psycopg.connect(dsn) as other:
        other.execute("select from pgflow.step_tasks where task_index = 0 for update")
        assert requeue(conn) == 1
    assert task_status(conn, run_id, "m") == ["started", "queued"]


def test_a_task_whose_message_is_gone_gets_a_new_one(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    conn.execute("delete from pgmq.q_flow")
    age(conn, 91)
    assert requeue(conn) == 1
    assert queued(conn, "flow") == [("a", 0)]
    assert [t.run_id for t in poll_and_start(conn, "flow")] == [run_id]


def test_a_task_without_a_message_is_requeued_too(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    conn.execute("delete from pgmq.q_flow")
    conn.execute("update pgflow.step_tasks set message_id = null")
    age(conn, 91)
    assert requeue(conn) == 1
    assert task_row(conn, run_id, "a")["message_id"] is not None


@pytest.mark.parametrize("when_exhausted", ["fail", "skip"])
def test_a_sibling_of_a_failed_or_skipped_step_is_not_put_back(conn: psycopg.Connection, when_exhausted: str) -> None:
    create_flow(conn, "flow", step("m", step_type="map", max_attempts=1, when_exhausted=when_exhausted), "other")
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    fail(conn, run_id, "m")
    age(conn, 91, "step_slug = 'm'")
    assert requeue(conn) == 0
    assert task_status(conn, run_id, "m") == ["failed", "started"]


def test_a_late_worker_of_a_requeued_task_changes_nothing(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    age(conn, 91)
    requeue(conn)
    assert complete(conn, run_id, "a", 1)["status"] == "queued"
    assert (step_status(conn, run_id), run_status(conn, run_id)) == ({"a": "started"}, "started")


def test_a_returning_task_completes_its_run(conn: psycopg.Connection) -> None:
    run_id = started(conn)
    stall(conn, 2)
    complete(conn, run_id, "a", 1)
    assert (run_status(conn, run_id), run_row(conn, run_id)["output"]) == ("completed", {"a": 1})


def test_a_role_that_may_call_it_needs_no_rights_on_the_tables(conn: psycopg.Connection) -> None:
    started(conn)
    age(conn, 91)
    with conn.transaction(force_rollback=True):
        conn.execute("create role pgflow_test_caller")
        conn.execute("grant usage on schema pgflow to pgflow_test_caller")
        conn.execute("set local role pgflow_test_caller")
        assert requeue(conn) == 1


def test_it_takes_no_worker_that_is_heard_of_for_an_outage(conn: psycopg.Connection) -> None:
    add_worker(conn, "flow")
    conn.execute("update pgflow.workers set lease = 30, last_heartbeat_at = now() - interval '9 seconds'")
    requeue(conn)
    assert value(conn, "select grace_until = '-infinity' from pgflow.outage")


def test_a_silence_of_all_workers_for_longer_than_half_a_lease_is_one(conn: psycopg.Connection) -> None:
    add_worker(conn, "flow")
    conn.execute("update pgflow.workers set lease = 30, last_heartbeat_at = now() - interval '16 seconds'")
    requeue(conn)
    assert value(conn, "select grace_until > now() from pgflow.outage")


def test_a_flow_without_a_queue_keeps_no_other_from_being_looked_after(conn: psycopg.Connection) -> None:
    run_ids = [started(conn, timeout=60)]
    create_flow(conn, "other", step("a", timeout=60))
    run_ids.append(start(conn, "other"))
    poll_and_start(conn, "other")
    age(conn, 100)
    conn.execute("select pgmq.drop_queue('flow')")
    assert requeue(conn) == 2
    assert [task_status(conn, run_id, "a") for run_id in run_ids] == [["queued"], ["queued"]]
    assert len(poll_and_start(conn, "other")) == 1
