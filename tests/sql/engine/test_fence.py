"""Fences: grow at every claim, never shrink."""

from __future__ import annotations

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    add_our_worker,
    backdate_start,
    completed,
    failed,
    lapse,
    poll_one,
    released,
    run,
    settle,
)
from tests.sql.flows import complete, create_flow, fail, make_visible, poll_and_start, start, step, task_row


def test_a_new_task_has_no_fence(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    task = task_row(conn, start(conn, "flow"), "a")
    assert (task["fence"], task["settled_fence"], task["leased_until"]) == (0, 0, None)


def test_fence_grows_at_every_claim_by_poll_and_by_start_tasks(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", max_attempts=9, base_delay=0)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    fences = [poll_one(conn, worker).fence]
    fail(conn, run_id, "a")
    poll_and_start(conn, "flow")
    fences.append(task_row(conn, run_id, "a")["fence"])
    fail(conn, run_id, "a")
    fences.append(poll_one(conn, worker).fence)
    assert fences == [1, 2, 3]


@pytest.mark.parametrize("outcome", [released, lambda task: failed(task, retry_in=0)])
def test_fence_stays_when_a_task_is_put_back_and_grows_when_it_starts_again(conn: psycopg.Connection, outcome) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    first = poll_one(conn, worker)
    settle(conn, worker, outcome(first))
    assert task_row(conn, run_id, "a")["fence"] == first.fence
    assert poll_one(conn, worker).fence == first.fence + 1


def test_fence_stays_at_requeue_and_grows_at_the_next_claim(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    backdate_start(conn, 100)
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    assert task_row(conn, run_id, "a")["fence"] == 1
    assert poll_one(conn, add_our_worker(conn)).fence == 2


def test_fence_grows_when_a_lapsed_task_starts_again(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    assert poll_one(conn, worker).fence == 1
    lapse(conn)
    assert poll_one(conn, worker).fence == 2


@pytest.mark.parametrize("close", [complete, fail])
def test_the_contracts_functions_leave_the_fences_alone(conn: psycopg.Connection, close) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), max_attempts=1)
    run_id = start(conn, "flow")
    task = poll_one(conn, add_our_worker(conn))
    close(conn, run_id, "a")
    row = task_row(conn, run_id, "a")
    assert (row["fence"], row["settled_fence"]) == (task.fence, 0)


@pytest.mark.parametrize("outcome", [completed, failed, released, lambda task: failed(task, permanent=True)])
def test_settling_notes_the_fence_that_settled(conn: psycopg.Connection, outcome) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, released(poll_one(conn, worker)))
    second = poll_one(conn, worker)
    settle(conn, worker, outcome(second))
    row = task_row(conn, run_id, "a")
    assert (row["fence"], row["settled_fence"]) == (second.fence, second.fence) == (2, 2)


def test_only_a_claim_with_a_lease_is_leased(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", base_delay=0)
    run_id = start(conn, "flow")
    poll_one(conn, add_our_worker(conn))
    assert task_row(conn, run_id, "a")["leased_until"] is not None
    fail(conn, run_id, "a")
    make_visible(conn, "flow")
    poll_and_start(conn, "flow")
    assert task_row(conn, run_id, "a")["leased_until"] is None
