"""Run control against busy workers: who comes second sees what the first did, and nobody hangs."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.sql.engine.test_locks import in_background, is_blocked
from tests.sql.engine.test_races import (
    INVARIANTS,
    SECONDS,
    THREADS,
    Chaos,
    at_work,
    check_outputs,
    create_flows,
    finish,
)
from tests.sql.engine.work import add_our_worker, completed, failed, poll, settle
from tests.sql.flows import (
    archived,
    call,
    complete,
    create_flow,
    queued,
    run_status,
    start,
    start_tasks,
    step,
    task_row,
    task_status,
)
from tests.support import eventually, rows, value


@pytest.fixture
def second(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def control(conn: psycopg.Connection, function: str, run_id: uuid.UUID) -> Any:
    more = {"from_step": "m"} if function == "rerun" else {}
    return call(conn, function, run_id=run_id, **more)[0]


def map_of_two(conn: psycopg.Connection) -> uuid.UUID:
    create_flow(conn, "flow", step("m", step_type="map", max_attempts=1))
    return start(conn, "flow", [1, 2])


def test_who_settles_after_a_cancel_hears_that_the_run_is_gone(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    run_id = map_of_two(conn)
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    with conn.transaction():
        control(conn, "cancel_run", run_id)
        settling = in_background(lambda: settle(second, worker, *map(completed, tasks)))
        eventually(lambda: is_blocked(conn, second))
    assert settling.result(30) == ["gone", "gone"]
    assert task_status(conn, run_id, "m") == ["started", "started"]


def test_who_cancels_after_the_last_result_hears_that_the_run_has_completed(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    run_id = map_of_two(conn)
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    with conn.transaction():
        settle(conn, worker, *map(completed, tasks))
        cancelling = in_background(lambda: control(second, "cancel_run", run_id))
        eventually(lambda: is_blocked(conn, second))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has completed and cannot be cancelled"):
        cancelling.result(30)
    assert run_status(conn, run_id) == "completed"


def test_a_claim_that_is_under_way_is_cancelled_too(conn: psycopg.Connection, second: psycopg.Connection) -> None:
    run_id = map_of_two(conn)
    worker = add_our_worker(conn)
    with conn.transaction():
        tasks = poll(conn, worker)
        cancelling = in_background(lambda: control(second, "cancel_run", run_id))
        eventually(lambda: is_blocked(conn, second))
    cancelling.result(30)
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("m", 0), ("m", 1)])
    assert settle(conn, worker, *map(completed, tasks)) == ["gone", "gone"]


def test_what_a_step_starts_while_its_run_is_being_cancelled_is_archived(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    start_tasks(conn, "flow", [task_row(conn, run_id, "a")["message_id"]], uuid.uuid4())
    with conn.transaction():
        complete(conn, run_id, "a", 1)
        cancelling = in_background(lambda: control(second, "cancel_run", run_id))
        eventually(lambda: is_blocked(conn, second))
    cancelling.result(30)
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("a", 0), ("b", 0)])


@pytest.mark.parametrize("function", ["cancel_run", "retry_run"])
def test_two_at_once_do_it_once(conn: psycopg.Connection, second: psycopg.Connection, function: str) -> None:
    run_id = map_of_two(conn)
    if function == "retry_run":
        control(conn, "cancel_run", run_id)
    with conn.transaction():
        first = control(conn, function, run_id)
        other = in_background(lambda: control(second, function, run_id))
        eventually(lambda: is_blocked(conn, second))
    assert other.result(30) == first
    fences = 0 if function == "cancel_run" else 1
    assert rows(conn, "select fence from pgflow.step_tasks") == [(fences,), (fences,)]


def test_a_failure_that_comes_during_a_retry_is_stale(conn: psycopg.Connection, second: psycopg.Connection) -> None:
    run_id = map_of_two(conn)
    worker = add_our_worker(conn)
    one, two = poll(conn, worker)
    settle(conn, worker, failed(one))
    with conn.transaction():
        control(conn, "retry_run", run_id)
        settling = in_background(lambda: settle(second, worker, failed(two)))
        eventually(lambda: is_blocked(conn, second))
    assert settling.result(30) == ["stale"]
    assert run_status(conn, run_id) == "started"


def test_a_rerun_takes_over_what_a_worker_is_just_completing(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    start_tasks(conn, "flow", [task_row(conn, run_id, "a")["message_id"]], uuid.uuid4())
    with conn.transaction():
        complete(conn, run_id, "a", 1)
        rerunning = in_background(lambda: call(second, "rerun", run_id=run_id, from_step="b"))
        eventually(lambda: is_blocked(conn, second))
    assert rerunning.result(30)[0]["remaining_steps"] == 1


class Operator(Chaos):
    """A worker that also cancels, retries, reruns, pauses and resumes."""

    def actions(self) -> dict[Callable[[], None], int]:
        return {**super().actions(), self.cancel: 3, self.retry: 6, self.rerun: 1, self.pause: 1, self.resume: 6}

    def some_run(self, condition: str) -> Iterator[tuple[uuid.UUID, str]]:
        yield from rows(
            self.conn,
            "select r.run_id, s.step_slug from pgflow.runs r join pgflow.steps s using (flow_slug) "
            f"where {condition} order by random() limit 1",
        )  # type: ignore[misc]

    def cancel(self) -> None:
        for run_id, _ in self.some_run("r.status = 'started'"):
            self.attempt("cancel_run", run_id=run_id, reason="chaos")

    def retry(self) -> None:
        for run_id, _ in self.some_run("r.status = 'failed'"):
            self.attempt("retry_run", run_id=run_id)

    def rerun(self) -> None:
        for run_id, slug in self.some_run("true"):
            self.attempt("rerun", run_id=run_id, from_step=slug)

    def pause(self) -> None:
        call(self.conn, "pause_flow", flow_slug=random.choice(["one", "two"]))

    def resume(self) -> None:
        for slug in ("one", "two"):
            call(self.conn, "resume_flow", flow_slug=slug)

    def attempt(self, function: str, **arguments: Any) -> None:
        """Somebody may have been faster: then it is refused."""
        try:
            call(self.conn, function, **arguments)
        except psycopg.errors.ObjectNotInPrerequisiteState:
            self.done["refused"] += 1


@pytest.mark.slow
def test_everything_at_once(conn: psycopg.Connection, dsn: str) -> None:
    create_flows(conn)
    workers = [Operator(dsn, seed) for seed in range(THREADS)]
    with at_work(workers):
        time.sleep(SECONDS)
    done = sum((w.done for w in workers), Counter())
    assert set(done) >= {"cancel", "retry", "rerun", "pause", "resume", "settle", "close_foreign"}
    check_invariants(conn)
    check_outputs(conn, workers)

    for slug in ("one", "two"):
        call(conn, "resume_flow", flow_slug=slug)
    for (run_id,) in rows(conn, "select run_id from pgflow.runs where status = 'failed'"):
        assert control(conn, "retry_run", run_id)["status"] == "started"
    check_invariants(conn)
    finish(conn)
    check_invariants(conn)
    assert value(conn, "select count(*) from pgflow.runs where status = 'completed'") > 0


def check_invariants(conn: psycopg.Connection, *slugs: str) -> None:
    """Those of a database without run control; but the steps that a rerun took over have no tasks."""
    taken_over = (
        "ss.completed_at = ss.created_at and not exists (select from pgflow.step_tasks x "
        "where x.run_id = ss.run_id and x.step_slug = ss.step_slug)"
    )
    for name, sql in INVARIANTS.items():
        if name == "a started step has all its tasks":
            sql = sql.replace("where ss.status", f"where not ({taken_over}) and ss.status")
        for slug in slugs or ("one", "two"):
            assert rows(conn, sql.replace("{slug}", slug)) == [], name
    assert rows(conn, "select run_id from pgflow.runs where cancelled_at is not null and status <> 'failed'") == []
