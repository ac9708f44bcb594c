"""register_worker and extend_leases: the heartbeat of a worker and of its tasks."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    LEASE,
    add_our_worker,
    backdate_start,
    completed,
    extend,
    failed,
    lapse,
    poll,
    poll_one,
    released,
    run,
    settle,
    silence,
)
from tests.sql.flows import complete, create_flow, fail, make_visible, poll_and_start, start, step, visible_in
from tests.support import rows, value

HEARD = "select last_heartbeat_at > clock_timestamp() - interval '10 s' from pgflow.workers where worker_id = %s"
LEFT = "select extract(epoch from leased_until - clock_timestamp())::float from pgflow.step_tasks where step_slug = %s"


def test_a_registered_worker_is_heard_of_and_has_its_lease(conn: psycopg.Connection) -> None:
    worker = uuid.uuid4()
    run(conn, calls.register_worker(worker, "queue", "function", lease=17))
    sql = "select queue_name, function_name, lease, stopped_at, deprecated_at from pgflow.workers where worker_id = %s"
    assert rows(conn, sql, worker) == [("queue", "function", 17, None, None)]
    assert value(conn, HEARD, worker)


def test_registering_again_revives_a_worker(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    silence(conn, 100)
    run(conn, calls.mark_worker_stopped(worker))
    run(conn, calls.register_worker(worker, "queue", "function", lease=20))
    assert value(conn, HEARD, worker)
    assert rows(conn, "select lease, stopped_at from pgflow.workers") == [(20, None)]


def test_a_stopped_worker_says_when(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    run(conn, calls.mark_worker_stopped(worker))
    assert value(conn, "select stopped_at is not null from pgflow.workers where worker_id = %s", worker)


def test_a_heartbeat_without_tasks_is_heard(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    silence(conn, 100)
    assert extend(conn, worker) == []
    assert value(conn, HEARD, worker)


def test_a_worker_that_was_pruned_is_put_back(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    conn.execute("delete from pgflow.workers")
    extend(conn, worker, lease=9)
    assert value(conn, HEARD, worker)
    assert value(conn, "select lease from pgflow.workers where worker_id = %s", worker) == 9


def test_extending_moves_the_lease_and_the_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    assert extend(conn, worker, task.key, lease=40) == []
    assert 35 < value(conn, LEFT, "a") <= 40
    assert 35 < visible_in(conn, "flow", task.msg_id) <= 40


def test_extending_covers_tasks_of_several_flows(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn)
    for slug in ("one", "two"):
        create_flow(conn, slug, step("m", step_type="map"))
        start(conn, slug, [1, 2])
    tasks = poll(conn, worker, "one", "two")
    assert extend(conn, worker, *(t.key for t in tasks), lease=40) == []
    for task in tasks:
        assert 35 < visible_in(conn, task.flow_slug, task.msg_id) <= 40


def test_only_the_tasks_named_are_extended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b")
    start(conn, "flow")
    worker = add_our_worker(conn)
    a, _ = poll(conn, worker)
    extend(conn, worker, a.key, lease=40)
    assert value(conn, LEFT, "a") > 30
    assert value(conn, LEFT, "b") <= LEASE


@pytest.mark.parametrize(("started_ago", "left"), [(0, 12), (7, 5)])
def test_no_lease_is_extended_past_the_timeout(conn: psycopg.Connection, started_ago: int, left: int) -> None:
    create_flow(conn, "flow", step("a", timeout=10), timeout=1000)
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    backdate_start(conn, started_ago)
    assert extend(conn, worker, task.key, lease=600) == []
    assert left - 3 < value(conn, LEFT, "a") <= left
    assert left - 3 < visible_in(conn, "flow", task.msg_id) <= left


def test_a_lapsed_lease_that_nobody_took_can_be_extended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    lapse(conn)
    assert extend(conn, worker, task.key, lease=40) == []
    assert poll(conn, add_our_worker(conn)) == []


@pytest.mark.parametrize(
    "outcome", [completed, released, lambda t: failed(t, retry_in=9), lambda t: failed(t, permanent=True)]
)
def test_a_settled_task_is_no_longer_its_own(conn: psycopg.Connection, outcome) -> None:
    create_flow(conn, "flow", "a", "b")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll(conn, worker)[0]
    settle(conn, worker, outcome(task))
    assert extend(conn, worker, task.key) == [task.key]


@pytest.mark.parametrize("close", [complete, fail])
def test_a_task_that_a_contract_call_closed_is_no_longer_its_own(conn: psycopg.Connection, close) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    worker = add_our_worker(conn)
    first, second = poll(conn, worker)
    close(conn, run_id, "m")
    assert extend(conn, worker, first.key, second.key) == [first.key]


def test_a_task_that_somebody_else_claimed_is_not_extended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    fail(conn, run_id, "a")
    make_visible(conn, "flow")
    poll_and_start(conn, "flow")
    assert extend(conn, worker, task.key, lease=40) == [task.key]
    assert value(conn, LEFT, "a") is None


def test_a_task_of_another_worker_is_not_extended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    task = poll_one(conn, add_our_worker(conn))
    assert extend(conn, add_our_worker(conn), task.key, lease=40) == [task.key]
    assert value(conn, LEFT, "a") <= LEASE


@pytest.mark.parametrize("when_exhausted", ["fail", "skip"])
def test_tasks_of_a_run_or_step_that_has_ended_are_reported(conn: psycopg.Connection, when_exhausted: str) -> None:
    create_flow(conn, "flow", step("m", step_type="map", when_exhausted=when_exhausted), "b")
    start(conn, "flow", [1, 2])
    worker = add_our_worker(conn)
    _, first, second = poll(conn, worker)
    settle(conn, worker, failed(first, permanent=True))
    assert extend(conn, worker, second.key) == [second.key]


def test_tasks_that_are_not_there_are_reported(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    unknown = task.key._replace(run_id=uuid.uuid4())
    assert extend(conn, worker, unknown, task.key) == [unknown]


def test_a_task_that_is_being_settled_is_passed_over_and_not_reported(conn: psycopg.Connection, dsn: str) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    before = value(conn, "select leased_until from pgflow.step_tasks")
    with psycopg.connect(dsn) as settling:
        settle(settling, worker, completed(task))
        assert extend(conn, worker, task.key, lease=40) == []
        assert value(conn, "select leased_until from pgflow.step_tasks") == before
    assert extend(conn, worker, task.key) == [task.key]
