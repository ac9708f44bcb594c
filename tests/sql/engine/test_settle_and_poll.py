"""settle_and_poll: both in one transaction, settle first."""

from __future__ import annotations

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Outcome
from tests.sql.engine.work import LEASE, add_our_worker, poll, poll_one, run
from tests.sql.flows import create_flow, start, step


def settle_and_poll(conn: psycopg.Connection, worker_id, *outcomes: Outcome, slugs=("flow",), qty: int = 10):
    return run(conn, calls.settle_and_poll(worker_id, outcomes, slugs, qty=qty, lease=LEASE))


def test_the_step_that_a_result_frees_comes_back_with_its_verdict(conn):
    create_flow(conn, "flow", "first", step("second", "first"))
    run_id = start(conn, "flow", {})
    worker_id = add_our_worker(conn)
    first = poll_one(conn, worker_id)

    verdicts, polled = settle_and_poll(conn, worker_id, Outcome.completed(first.key, b"7"))

    assert verdicts == ["applied"]
    (second,) = polled.tasks
    assert (second.run_id, second.step_slug, second.input) == (run_id, "second", b'{"first": 7}')


def test_verdicts_come_in_order_and_also_when_there_is_nothing_to_poll(conn):
    create_flow(conn, "flow", "only")
    start(conn, "flow", {})
    worker_id = add_our_worker(conn)
    done = Outcome.completed(poll_one(conn, worker_id).key, b"1")
    stale = Outcome.completed(done.key._replace(fence=99), b"1")

    verdicts, polled = settle_and_poll(conn, worker_id, stale, done, done)

    assert verdicts == ["stale", "applied", "duplicate"]
    assert polled.tasks == ()


def test_no_more_tasks_come_than_were_asked_for(conn):
    create_flow(conn, "flow", step("each", step_type="map"))
    start(conn, "flow", [1, 2, 3, 4])
    worker_id = add_our_worker(conn)
    (first,) = poll(conn, worker_id, qty=1)

    _, polled = settle_and_poll(conn, worker_id, Outcome.completed(first.key, b"1"), qty=2)

    assert len(polled.tasks) == 2


def test_a_batch_that_is_refused_claims_nothing(conn):
    create_flow(conn, "flow", "only")
    start(conn, "flow", {})
    worker_id = add_our_worker(conn)
    task = poll_one(conn, worker_id)
    start(conn, "flow", {})
    with pytest.raises(psycopg.DataError):
        settle_and_poll(conn, worker_id, Outcome.completed(task.key, b'"\\u0000"'))
    assert len(poll(conn, worker_id)) == 1


def test_a_flow_that_gave_less_than_its_share_does_not_keep_the_others_from_giving_more(conn):
    create_flow(conn, "flow", step("each", step_type="map"))
    create_flow(conn, "other", "only")
    start(conn, "flow", list(range(20)))
    start(conn, "other", {})
    assert len(poll(conn, add_our_worker(conn), "flow", "other", qty=12)) == 12
