"""Lapsed leases: tasks start again at once, as a stall or as a lost answer; outages are forgiven."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    add_our_worker,
    backdate_start,
    completed,
    end_leases,
    extend,
    lapse,
    poll,
    poll_all,
    poll_one,
    run,
    settle,
    silence,
    wait_for_server_grace,
)
from tests.sql.flows import create_flow, make_visible, start, step, task_row, visible_in
from tests.support import eventually, value


def start_one(conn: psycopg.Connection, **options: int) -> uuid.UUID:
    create_flow(conn, "flow", "a", **options)
    return start(conn, "flow")


def test_a_task_whose_lease_ran_out_starts_again_with_a_new_fence(conn: psycopg.Connection) -> None:
    start_one(conn)
    old = poll_one(conn, add_our_worker(conn))
    wait_for_server_grace(conn)
    worker = add_our_worker(conn)
    again = eventually(lambda: poll(conn, worker))[0]
    assert (again.msg_id, again.fence) == (old.msg_id, old.fence + 1)
    assert settle(conn, worker, completed(old)) == ["stale"]
    assert settle(conn, worker, completed(again)) == ["applied"]


def test_a_lease_that_has_not_passed_is_respected_though_the_message_is_visible(conn: psycopg.Connection) -> None:
    start_one(conn)
    task = poll_one(conn, add_our_worker(conn), lease=30)
    make_visible(conn, "flow")
    wait_for_server_grace(conn)
    polled = poll_all(conn, add_our_worker(conn))
    assert polled.tasks == ()
    assert 25 < visible_in(conn, "flow", task.msg_id) <= 30
    assert 25 < polled.next_visible_in <= 30


def test_a_lapsed_task_is_found_though_a_foreign_read_hides_its_message(conn: psycopg.Connection) -> None:
    start_one(conn)
    old = poll_one(conn, add_our_worker(conn))
    conn.execute("update pgmq.q_flow set vt = clock_timestamp() + interval '1 hour'")
    end_leases(conn)
    worker = add_our_worker(conn)
    (again,) = eventually(lambda: poll(conn, worker))
    assert again.fence == old.fence + 1


def test_a_lapsed_task_comes_before_whatever_has_been_waiting(conn: psycopg.Connection) -> None:
    start_one(conn)
    old = poll_one(conn, add_our_worker(conn))
    for _ in range(5):
        start(conn, "flow")
    end_leases(conn)
    conn.execute("update pgmq.q_flow set vt = vt - interval '1 hour'")  # a backlog
    conn.execute("update pgmq.q_flow set vt = clock_timestamp() - interval '1 ms' where msg_id = %s", [old.msg_id])
    worker = add_our_worker(conn)
    conn.execute("update pgflow.flows set looked_at = null")  # a third of a lease has passed
    (again,) = poll(conn, worker, qty=1)
    assert (again.msg_id, again.fence) == (old.msg_id, old.fence + 1)
    assert len(poll(conn, worker)) == 5


def test_so_does_one_that_lapsed_while_nobody_polled(conn: psycopg.Connection) -> None:
    start_one(conn)
    old = poll_one(conn, add_our_worker(conn))
    for _ in range(5):
        start(conn, "flow")
    end_leases(conn)
    conn.execute("update pgmq.q_flow set vt = vt - interval '2 hours'")  # a backlog
    conn.execute("update pgmq.q_flow set vt = clock_timestamp() - interval '1 hour' where msg_id = %s", [old.msg_id])
    conn.execute("update pgflow.flows set looked_at = clock_timestamp() - interval '1 hour'")
    (again,) = poll(conn, add_our_worker(conn), qty=1)
    assert again.msg_id == old.msg_id


def test_what_was_never_taken_is_not_looked_through(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("delayed", start_delay=1000))
    start(conn, "flow")
    wait_for_server_grace(conn)
    poll(conn, add_our_worker(conn))
    assert value(conn, "select min(vt) > clock_timestamp() + interval '900 s' from pgmq.q_flow")


def test_a_grace_noted_by_a_clock_that_was_ahead_does_not_count(conn: psycopg.Connection) -> None:
    start_one(conn)
    old = poll_one(conn, add_our_worker(conn))
    wait_for_server_grace(conn)
    conn.execute("update pgflow.outage set grace_until = clock_timestamp() + interval '1 hour'")
    worker = add_our_worker(conn)
    (again,) = eventually(lambda: poll(conn, worker))
    assert again.fence == old.fence + 1


def test_hidden_messages_of_tasks_that_have_not_lapsed_stay_hidden(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "leased", step("delayed", start_delay=100))
    start(conn, "flow")
    worker = add_our_worker(conn)
    poll_one(conn, worker, lease=100)
    wait_for_server_grace(conn)
    assert poll(conn, worker) == []
    assert value(conn, "select min(vt) > clock_timestamp() + interval '50 s' from pgmq.q_flow")


def test_the_queue_is_looked_through_once_per_third_of_a_lease(conn: psycopg.Connection) -> None:
    start_one(conn)
    worker = add_our_worker(conn)
    poll(conn, worker, lease=600)
    conn.execute("update pgmq.q_flow set vt = clock_timestamp() + interval '1 hour'")
    conn.execute("update pgflow.outage set grace_until = '-infinity'")
    end_leases(conn)
    assert poll(conn, worker, lease=600) == []
    assert eventually(lambda: poll(conn, worker))


def test_one_flows_look_does_not_count_for_another(conn: psycopg.Connection) -> None:
    start_one(conn)
    create_flow(conn, "other", "a")
    worker = add_our_worker(conn)
    poll(conn, worker)
    conn.execute("update pgmq.q_flow set vt = clock_timestamp() + interval '1 hour'")
    end_leases(conn)
    eventually(lambda: poll(conn, worker, "other", "flow"))


# ------------------------------------------------------------------------------- stall or lost answer


def counts(conn: psycopg.Connection, run_id: uuid.UUID) -> tuple[int, int]:
    row = task_row(conn, run_id, "a")
    return row["requeued_count"], row["attempts_count"]


def test_a_lapse_under_a_living_worker_is_a_lost_answer_and_gives_the_attempt_back(conn: psycopg.Connection) -> None:
    run_id = start_one(conn)
    poll_one(conn, add_our_worker(conn, lease=60))
    lapse(conn)
    again = poll_one(conn, add_our_worker(conn))
    assert (again.attempt, counts(conn, run_id)) == (1, (0, 1))
    assert task_row(conn, run_id, "a")["last_requeued_at"] is None


@pytest.mark.parametrize(
    "gone",
    [
        "delete from pgflow.workers where worker_id = %s",
        "update pgflow.workers set stopped_at = now() where worker_id = %s",
        "update pgflow.workers set last_heartbeat_at = clock_timestamp() - interval '31 s' where worker_id = %s",
    ],
)
def test_a_lapse_under_a_worker_that_is_gone_is_a_stall(conn: psycopg.Connection, gone: str) -> None:
    run_id = start_one(conn)
    dead = add_our_worker(conn, lease=60)
    poll_one(conn, dead)
    living = add_our_worker(conn)
    lapse(conn)
    conn.execute(gone, (dead,))
    again = poll_one(conn, living)
    assert (again.attempt, counts(conn, run_id)) == (2, (1, 2))
    assert task_row(conn, run_id, "a")["last_requeued_at"] is not None


def test_a_heartbeat_younger_than_half_a_lease_is_a_living_worker(conn: psycopg.Connection) -> None:
    run_id = start_one(conn)
    worker = add_our_worker(conn, lease=60)
    poll_one(conn, worker)
    other = add_our_worker(conn)
    lapse(conn)
    silence(conn, 20, worker)
    poll_one(conn, other)
    assert counts(conn, run_id) == (0, 1)


@pytest.mark.parametrize(("seconds", "stalls"), [(11, 0), (13, 1)])
def test_a_lapse_after_the_timeout_is_a_stall_whoever_lives(
    conn: psycopg.Connection, seconds: int, stalls: int
) -> None:
    create_flow(conn, "flow", step("a", timeout=10), timeout=1000)
    run_id = start(conn, "flow")
    poll_one(conn, add_our_worker(conn, lease=60))
    lapse(conn)
    backdate_start(conn, seconds)
    poll_one(conn, add_our_worker(conn))
    assert counts(conn, run_id)[0] == stalls


def test_answers_lost_again_and_again_use_up_nothing(conn: psycopg.Connection) -> None:
    run_id = start_one(conn, max_attempts=1)
    worker = add_our_worker(conn, lease=60)
    for _ in range(6):
        task = poll_one(conn, worker)
        lapse(conn)
    assert (task.attempt, counts(conn, run_id)) == (1, (0, 1))


# ------------------------------------------------------------------------------- outages


def test_nothing_lapses_for_one_lease_after_the_servers_start(conn: psycopg.Connection) -> None:
    start_one(conn)
    task = poll_one(conn, add_our_worker(conn))
    lapse(conn)
    long = 1_000_000  # seconds: the server has not run for so long
    worker = add_our_worker(conn)
    assert poll(conn, worker, lease=long) == []
    assert visible_in(conn, "flow", task.msg_id) > 100_000


def grace(conn: psycopg.Connection) -> float:
    """Seconds of grace that are left."""
    return float(value(conn, "select extract(epoch from grace_until - clock_timestamp()) from pgflow.outage"))


def start_and_fall_silent(conn: psycopg.Connection, longest_lease: int) -> uuid.UUID:
    """A task whose lease has passed while no worker was heard of; the worker that comes back."""
    start_one(conn, timeout=1000)
    worker = add_our_worker(conn)
    add_our_worker(conn, lease=longest_lease)
    poll_one(conn, worker)
    lapse(conn)
    silence(conn, 100)
    return worker


def test_a_poll_that_finds_all_workers_silent_grants_the_longest_lease(conn: psycopg.Connection) -> None:
    worker = start_and_fall_silent(conn, longest_lease=40)
    polled = poll_all(conn, worker)
    assert polled.tasks == ()
    assert 35 < grace(conn) <= 40
    assert 35 < polled.next_visible_in <= 40


@pytest.mark.parametrize("comes_back", [extend, lambda conn, _: add_our_worker(conn)])
def test_a_worker_that_comes_back_grants_it_before_it_is_heard_of(conn: psycopg.Connection, comes_back) -> None:
    worker = start_and_fall_silent(conn, longest_lease=40)
    comes_back(conn, worker)
    assert 35 < grace(conn) <= 40
    assert poll(conn, worker) == []


def test_after_the_grace_what_was_not_extended_has_lapsed(conn: psycopg.Connection) -> None:
    worker = start_and_fall_silent(conn, longest_lease=1)
    assert poll(conn, worker) == []
    assert eventually(lambda: poll(conn, worker))


def test_a_lease_that_is_extended_in_the_grace_does_not_lapse_after_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=1000)
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    lapse(conn)
    silence(conn, 100)
    assert extend(conn, worker, task.key, lease=60) == []
    conn.execute("update pgflow.outage set grace_until = clock_timestamp()")
    make_visible(conn, "flow")
    assert poll(conn, worker) == []
    assert settle(conn, worker, completed(task)) == ["applied"]


def test_one_outage_is_granted_once(conn: psycopg.Connection) -> None:
    worker = start_and_fall_silent(conn, longest_lease=40)
    poll(conn, worker)
    before = grace(conn)
    make_visible(conn, "flow")
    poll(conn, worker)
    assert grace(conn) <= before


def let_pass(conn: psycopg.Connection, seconds: float) -> None:
    """As if so much time passed, in which nothing was heard of anybody."""
    span = f"interval '{seconds} s'"
    conn.execute(
        f"""update pgflow.workers set last_heartbeat_at = last_heartbeat_at - {span};
            update pgflow.step_tasks set queued_at = queued_at - {span}, started_at = started_at - {span},
                                         leased_until = leased_until - {span};
            update pgflow.flows set looked_at = looked_at - {span};
            update pgflow.outage set grace_until = grace_until - {span}, noted_at = noted_at - {span};
            update pgmq.q_flow set vt = vt - {span}"""
    )


def test_an_outage_that_begins_while_another_is_forgiven_is_forgiven_too(conn: psycopg.Connection) -> None:
    run_id = start_one(conn, timeout=3600)
    wait_for_server_grace(conn, 5)
    one, other = (add_our_worker(conn, lease=5) for _ in range(2))
    task = poll_one(conn, one, lease=5)
    for pause in (600, 2, 600):
        let_pass(conn, pause)
        assert poll(conn, other, lease=5) == []
        for worker, held in ((other, []), (one, [task.key])):
            assert extend(conn, worker, *held, lease=5) == []
    assert task_row(conn, run_id, "a")["requeued_count"] == 0


@pytest.mark.parametrize("away", [4, 8, 12, 14.9, 16, 60])
def test_an_outage_of_any_length_costs_no_task_its_worker(conn: psycopg.Connection, away: float) -> None:
    """Whoever comes back first. A heartbeat extends what is older than a sixth of a lease, and comes each third."""
    run_id = start_one(conn, timeout=3600)
    wait_for_server_grace(conn, 15)
    one, other = (add_our_worker(conn, lease=15) for _ in range(2))
    task = poll_one(conn, one, lease=15)
    let_pass(conn, 2.4)
    extend(conn, one, lease=15)
    let_pass(conn, 4.9)
    extend(conn, other, lease=15)
    let_pass(conn, away)
    assert poll(conn, other, lease=15) == []
    assert extend(conn, other, lease=15) == []
    assert poll(conn, other, lease=15) == []
    assert extend(conn, one, task.key, lease=15) == []
    assert task_row(conn, run_id, "a")["requeued_count"] == 0


@pytest.mark.parametrize("stopped", [True, False])
def test_who_was_gone_before_an_outage_does_not_make_its_grace_longer(conn: psycopg.Connection, stopped: bool) -> None:
    start_one(conn, timeout=3600)
    wait_for_server_grace(conn, 5)
    gone = add_our_worker(conn, lease=3600)
    if stopped:
        run(conn, calls.mark_worker_stopped(gone))
    let_pass(conn, 10 if stopped else 4000)
    worker = add_our_worker(conn, lease=5)
    let_pass(conn, 60 if stopped else 4000)
    extend(conn, worker, lease=5)
    assert 0 < grace(conn) <= 5


def test_one_silent_worker_is_no_outage(conn: psycopg.Connection) -> None:
    start_one(conn)
    dead = add_our_worker(conn)
    poll_one(conn, dead)
    lapse(conn)
    living = add_our_worker(conn)
    silence(conn, 100, dead)
    assert poll_one(conn, living).fence == 2
    assert value(conn, "select grace_until = '-infinity' from pgflow.outage")


def test_requeueing_respects_the_grace_of_leased_tasks_only(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b", timeout=10)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    poll(conn, worker)
    wait_for_server_grace(conn)
    conn.execute("update pgflow.step_tasks set leased_until = null where step_slug = 'b'")
    backdate_start(conn, 100)
    add_our_worker(conn, lease=3600)  # for whose lease nothing is judged lapsed after the server's start
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    assert [task_row(conn, run_id, s)["status"] for s in "ab"] == ["started", "queued"]
    conn.execute("delete from pgflow.workers where lease = 3600")
    assert run(conn, calls.requeue_stalled_tasks()) == 1


def test_requeueing_while_workers_are_heard_of_notes_no_outage(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=10)
    start(conn, "flow")
    poll_one(conn, add_our_worker(conn, lease=60))
    run(conn, calls.requeue_stalled_tasks())
    assert value(conn, "select grace_until = '-infinity' from pgflow.outage")


def test_requeueing_that_finds_all_workers_silent_leaves_leased_tasks_alone(conn: psycopg.Connection) -> None:
    start_and_fall_silent(conn, longest_lease=40)
    backdate_start(conn, 2000)
    assert run(conn, calls.requeue_stalled_tasks()) == 0
    assert grace(conn) > 35
