"""Locks: who waits for whom, who passes by, and that all finish."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Task
from tests.sql.engine.work import (
    add_our_worker,
    backdate_start,
    completed,
    extend,
    fail_stalled,
    failed,
    lapse,
    poll,
    poll_all,
    released,
    run,
    settle,
    silence,
    wait_for_server_grace,
)
from tests.sql.flows import (
    add_worker,
    archived,
    complete,
    create_flow,
    fail,
    queued,
    run_status,
    start,
    start_tasks,
    step,
    step_row,
    task_row,
    task_status,
)
from tests.support import eventually, value


class Scene(NamedTuple):
    """A run of a map with six tasks: 0 to 2 ours, 3 foreign and stalled, 4 given up, 5 still queued."""

    run_id: uuid.UUID
    worker: uuid.UUID
    ours: list[Task]
    msg_ids: list[int]


def set_scene(conn: psycopg.Connection) -> Scene:
    run_id = start(conn, "flow", list(range(6)))
    worker = add_our_worker(conn, lease=60)
    ours = poll(conn, worker, qty=3, lease=60)
    msg_ids = [task_row(conn, run_id, "m", i)["message_id"] for i in range(6)]
    start_tasks(conn, "flow", msg_ids[3:5], add_worker(conn, "flow"))
    conn.execute(
        "update pgflow.step_tasks set queued_at = queued_at - interval '1 hour', started_at = started_at - interval "
        "'1 hour', permanently_stalled_at = case task_index when 4 then now() end "
        "where run_id = %s and task_index in (3, 4)",
        (run_id,),
    )
    return Scene(run_id, worker, ours, msg_ids)


#: Each does something with locks; what it takes part in never overlaps so far that a second one has nothing to do.
FUNCTIONS: dict[str, Callable[[psycopg.Connection, Scene], Any]] = {
    "settle: complete": lambda conn, s: settle(conn, s.worker, completed(s.ours[0])),
    "settle: release": lambda conn, s: settle(conn, s.worker, released(s.ours[1])),
    "settle: fail the run": lambda conn, s: settle(conn, s.worker, failed(s.ours[2], permanent=True)),
    "complete_task": lambda conn, s: complete(conn, s.run_id, "m", None, 1),
    "fail_task": lambda conn, s: fail(conn, s.run_id, "m", "boom", 2),
    "start_tasks": lambda conn, s: start_tasks(conn, "flow", s.msg_ids, s.worker),
    "requeue_stalled_tasks": lambda conn, s: run(conn, calls.requeue_stalled_tasks()),
    "fail_stalled_tasks": lambda conn, s: fail_stalled(conn),
    "settle_and_poll": lambda conn, s: run(
        conn, calls.settle_and_poll(s.worker, [completed(s.ours[0]), released(s.ours[1])], ["flow"], qty=9, lease=60)
    ),
    "_cascade_force_skip_steps": lambda conn, s: conn.execute(
        "select pgflow._cascade_force_skip_steps(%s, 'm', 'condition_unmet')", (s.run_id,)
    ),
    "cascade_resolve_conditions": lambda conn, s: conn.execute(
        "select pgflow.cascade_resolve_conditions(%s)", (s.run_id,)
    ),
    "cascade_complete_taskless_steps": lambda conn, s: conn.execute(
        "select pgflow.cascade_complete_taskless_steps(%s)", (s.run_id,)
    ),
    "start_ready_steps": lambda conn, s: conn.execute("select pgflow.start_ready_steps(%s)", (s.run_id,)),
    "set_vt_batch": lambda conn, s: conn.execute(
        "select pgflow.set_vt_batch('flow', %s, %s)", (s.msg_ids[::-1], [0] * len(s.msg_ids))
    ),
}
PASSING_BY: dict[str, Callable[[psycopg.Connection, Scene], Any]] = {
    "poll": lambda conn, s: poll(conn, s.worker, lease=60),
    "extend": lambda conn, s: extend(conn, s.worker, *(t.key for t in s.ours), lease=60),
}


def in_background(work: Callable[[], Any]) -> Future[Any]:
    """Runs work in a thread; its `result(30)` waits for it and raises what it raised."""
    future: Future[Any] = Future()

    def guarded() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=guarded, daemon=True).start()
    return future


def is_blocked(conn: psycopg.Connection, other: psycopg.Connection) -> bool:
    return bool(value(conn, "select cardinality(pg_blocking_pids(%s)) > 0", other.info.backend_pid))


@pytest.fixture
def flow(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map", timeout=60), max_attempts=5)
    wait_for_server_grace(conn)


@pytest.fixture
def second(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.mark.usefixtures("flow")
@pytest.mark.parametrize(
    ("holding", "passing"),
    # a worker has one heartbeat at a time
    [pair for pair in itertools.product([*FUNCTIONS, *PASSING_BY], PASSING_BY) if pair != ("extend", "extend")],
)
def test_polling_and_extending_never_wait(
    conn: psycopg.Connection, second: psycopg.Connection, holding: str, passing: str
) -> None:
    scene = set_scene(conn)
    lapse(conn)
    second.execute("set statement_timeout = '10 s'")  # a wait is an error
    with conn.transaction():
        (FUNCTIONS | PASSING_BY)[holding](conn, scene)
        PASSING_BY[passing](second, scene)


@pytest.mark.usefixtures("flow")
@pytest.mark.parametrize("lapsed", [False, True], ids=["leased", "lapsed"])
@pytest.mark.parametrize("holding", [*FUNCTIONS, *PASSING_BY])
def test_of_any_two_functions_both_finish(
    conn: psycopg.Connection, second: psycopg.Connection, holding: str, lapsed: bool
) -> None:
    for function in FUNCTIONS.values():
        scene = set_scene(conn)
        if lapsed:
            lapse(conn)
        with conn.transaction():
            (FUNCTIONS | PASSING_BY)[holding](conn, scene)
            following = in_background(lambda function=function, scene=scene: function(second, scene))
            eventually(lambda following=following: following.done() or is_blocked(conn, second))
        following.result(30)
        check_counters(conn, scene)
        clear(conn)


def check_counters(conn: psycopg.Connection, scene: Scene) -> None:
    if step_row(conn, scene.run_id, "m")["status"] == "started":
        open_tasks = [s for s in task_status(conn, scene.run_id, "m") if s != "completed"]
        assert step_row(conn, scene.run_id, "m")["remaining_tasks"] == len(open_tasks)


def clear(conn: psycopg.Connection) -> None:
    for table in ("pgflow.step_tasks", "pgflow.step_states", "pgflow.runs", "pgmq.q_flow"):
        conn.execute(f"delete from {table}")


@pytest.mark.usefixtures("flow")
@pytest.mark.parametrize("following", ["settle: complete", "complete_task", "fail_task", "fail_stalled_tasks"])
def test_who_changes_a_step_waits_for_who_changed_its_run(
    conn: psycopg.Connection, second: psycopg.Connection, following: str
) -> None:
    scene = set_scene(conn)
    with conn.transaction():
        settle(conn, scene.worker, released(scene.ours[0]))
        background = in_background(lambda: FUNCTIONS[following](second, scene))
        eventually(lambda: is_blocked(conn, second))
    background.result(30)


@pytest.mark.usefixtures("flow")
def test_a_wait_ends_with_the_verdict_of_what_then_is(conn: psycopg.Connection, second: psycopg.Connection) -> None:
    scene = set_scene(conn)
    with conn.transaction():
        settle(conn, scene.worker, completed(scene.ours[0]))
        complete(conn, scene.run_id, "m", None, 1)
        background = in_background(lambda: settle(second, scene.worker, *map(completed, scene.ours)))
        eventually(lambda: is_blocked(conn, second))
    assert background.result(30) == ["duplicate", "stale", "applied"]
    assert step_row(conn, scene.run_id, "m")["remaining_tasks"] == 3


def test_settling_the_same_runs_in_opposite_orders_is_no_deadlock(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_ids = [start(conn, "flow", list(range(20))) for _ in range(4)]
    worker = add_our_worker(conn, lease=60)
    outcomes = [completed(t) for t in poll(conn, worker, lease=60)]
    background = in_background(lambda: settle(second, worker, *reversed(outcomes)))
    verdicts = [settle(conn, worker, *outcomes), background.result(30)]
    assert sorted(verdicts) == [["applied"] * 80, ["duplicate"] * 80]
    assert [run_status(conn, r) for r in run_ids] == ["completed"] * 4


MAINTENANCE = {
    "requeue": "select pgflow.requeue_stalled_tasks()",
    "delete": "select pgflow.delete_flow_and_data('other')",
    "prune": "select pgflow.prune_data_older_than('1 day')",
}


@pytest.mark.parametrize("pair", ["requeue, delete", "delete, requeue", "requeue, prune", "prune, requeue"])
def test_maintenance_takes_tasks_before_messages_whatever_the_flow(
    dsn: str, conn: psycopg.Connection, second: psycopg.Connection, pair: str
) -> None:
    """Both have come as far as they can while somebody holds the messages."""
    for slug in ("flow", "other"):
        create_flow(conn, slug, step("a", timeout=60))
        start(conn, slug)
        start_tasks(conn, slug, [1], add_worker(conn, slug))
    backdate_start(conn, 3600)
    conn.execute(
        "update pgflow.runs set status = 'failed', started_at = now() - interval '9 days', "
        "failed_at = now() - interval '8 days' where flow_slug = 'other'"
    )
    first, then = (MAINTENANCE[name] for name in pair.split(", "))
    with psycopg.connect(dsn, autocommit=True) as holder:
        with holder.transaction():
            holder.execute("select from pgmq.q_flow for update")
            holder.execute("select from pgmq.q_other for update")
            leading = in_background(lambda: conn.execute(first))
            eventually(lambda: is_blocked(holder, conn))
            following = in_background(lambda: second.execute(then))
            eventually(lambda: following.done() or is_blocked(holder, second))
        leading.result(30)
        following.result(30)


# ------------------------------------------------------------------------------- tasks that are merely locked


def test_a_locked_task_leaves_its_message_alone_and_the_poll_ends(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", [1, 2, 3])
    worker = add_our_worker(second, lease=60)
    second.execute("set statement_timeout = '10 s'")
    with conn.transaction():
        conn.execute("select from pgflow.step_tasks where task_index = 1 for update")
        assert [t.task_index for t in poll(second, worker, lease=60)] == [0, 2]
        assert archived(second, "flow") == []
        assert len(queued(second, "flow")) == 3
    assert [t.task_index for t in eventually(lambda: poll(second, worker, lease=60))] == [1]


def test_a_task_that_is_locked_as_it_lapses_is_left_for_another_poll(
    conn: psycopg.Connection, second: psycopg.Connection
) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn, lease=60)
    poll(conn, worker)
    lapse(conn)
    second.execute("set statement_timeout = '10 s'")
    with conn.transaction():
        conn.execute("select from pgflow.step_tasks for update")
        assert poll(second, worker) == []
    assert eventually(lambda: poll(second, worker))[0].fence == 2


def test_noting_an_outage_waits_for_nobody(conn: psycopg.Connection, second: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=1000)
    start(conn, "flow")
    worker = add_our_worker(conn)
    poll(conn, worker)
    lapse(conn)
    silence(conn, 100)
    second.execute("set statement_timeout = '10 s'")
    with conn.transaction():
        conn.execute("update pgflow.outage set grace_until = clock_timestamp() + interval '1 hour'")
        polled = poll_all(second, worker)
        assert polled.tasks == ()
        assert extend(second, worker) == []


# ------------------------------------------------------------------------------- messages of several runs


@contextmanager
def message_held(dsn: str, msg_id: int) -> Iterator[psycopg.Connection]:
    """Somebody reads a message and does not commit yet."""
    with psycopg.connect(dsn) as reader:
        reader.execute("select from pgmq.q_flow where msg_id = %s for update", (msg_id,))
        yield reader


def two_runs(conn: psycopg.Connection) -> tuple[list[uuid.UUID], uuid.UUID, list[Task], list[int]]:
    """Two runs of a map with two tasks, the first of each claimed by ours; the message ids of the second ones."""
    create_flow(conn, "flow", step("m", step_type="map"))
    run_ids = [start(conn, "flow", [1, 2]) for _ in range(2)]
    worker = add_our_worker(conn, lease=60)
    second_ones = [task_row(conn, r, "m", 1)["message_id"] for r in run_ids]
    conn.execute(
        "update pgmq.q_flow set vt = clock_timestamp() + interval '1 hour' where msg_id = any (%s)", (second_ones,)
    )
    first_ones = sorted(poll(conn, worker, lease=60), key=lambda t: t.msg_id)
    return run_ids, worker, first_ones, second_ones


@pytest.mark.parametrize("by", ["settle_tasks", "fail_stalled_tasks"])
def test_failing_two_runs_while_their_tasks_are_claimed_is_no_deadlock(
    conn: psycopg.Connection, second: psycopg.Connection, dsn: str, by: str
) -> None:
    run_ids, worker, tasks, others = two_runs(conn)
    conn.execute("update pgflow.step_tasks set permanently_stalled_at = now() where task_index = 0")

    def fail_both() -> None:
        if by == "settle_tasks":
            settle(second, worker, *(failed(t, permanent=True) for t in reversed(tasks)))
        else:
            fail_stalled(second)

    with psycopg.connect(dsn, autocommit=True) as third:
        with message_held(dsn, min(t.msg_id for t in tasks)):
            failing = in_background(fail_both)
            eventually(lambda: is_blocked(conn, second))
            claiming = in_background(lambda: start_tasks(third, "flow", others, worker))
            eventually(lambda: claiming.done() or is_blocked(conn, third))
        failing.result(30)
        claiming.result(30)
    assert [run_status(conn, r) for r in run_ids] == ["failed", "failed"]
    assert queued(conn, "flow") == []


def test_requeueing_and_giving_up_lock_messages_in_order(
    conn: psycopg.Connection, second: psycopg.Connection, dsn: str
) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), "other")
    run_id = start(conn, "flow", [1, 2, 3])
    tasks = poll(conn, add_our_worker(conn))
    wait_for_server_grace(conn)
    backdate_start(conn, 1000)
    conn.execute("update pgflow.step_tasks set requeued_count = 3 where step_slug = 'm' and task_index = 2")
    _, first, given_up, _ = sorted(t.msg_id for t in tasks)
    with message_held(dsn, first) as archiver:
        requeueing = in_background(lambda: run(second, calls.requeue_stalled_tasks()))
        eventually(lambda: is_blocked(conn, second))
        # in order, it holds nothing behind what it waits for
        archiver.execute("select from pgmq.q_flow where msg_id = %s for update nowait", (given_up,))
    assert requeueing.result(30) == 3
    assert task_status(conn, run_id, "m") == ["queued", "queued", "started"]
