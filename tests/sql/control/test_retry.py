"""retry_run: a failed or cancelled run goes on from what failed it."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.engine.work import add_our_worker, completed, extend, failed, poll, poll_one, settle
from tests.sql.flows import (
    Row,
    call,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    raises,
    run_row,
    run_status,
    start,
    start_tasks,
    step,
    step_row,
    step_status,
    task_row,
    task_status,
    visible_in,
)
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, payload, sent
from tests.support import rows, value


def retry(conn: psycopg.Connection, run_id: uuid.UUID) -> Row:
    return call(conn, "retry_run", run_id=run_id)[0]


def fail_at(conn: psycopg.Connection, run_id: uuid.UUID, *failing: str) -> None:
    """Works the run off, each task with output [1, 2]; those of these steps fail."""
    while tasks := poll_and_start(conn, "flow"):
        for task in tasks:
            if task.step_slug in failing:
                fail(conn, run_id, task.step_slug, "boom", task.task_index)
            else:
                complete(conn, run_id, task.step_slug, [1, 2], task.task_index)


def work_off(conn: psycopg.Connection, run_id: uuid.UUID) -> None:
    fail_at(conn, run_id)


def failed_map(conn: psycopg.Connection) -> uuid.UUID:
    """A run of `first -> m (3 tasks) -> last`: of m one task completed, one failed, one was at work."""
    create_flow(conn, "flow", "first", step("m", "first", step_type="map", max_attempts=1), step("last", "m"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "first", [10, 20, 30])
    poll_and_start(conn, "flow")
    complete(conn, run_id, "m", "done", 0)
    fail(conn, run_id, "m", "boom", 1)
    assert run_status(conn, run_id) == "failed"
    return run_id


def test_the_run_goes_on_and_its_error_is_gone(conn: psycopg.Connection) -> None:
    run_id = failed_map(conn)
    failed_at = run_row(conn, run_id)["failed_at"]
    returned = retry(conn, run_id)
    run = run_row(conn, run_id)
    assert returned == run
    assert (run["status"], run["failed_at"], run["error_message"], run["cancelled_at"]) == ("started", None, None, None)
    assert run["remaining_steps"] == 2
    assert run["started_at"] > failed_at


def test_failed_and_dead_tasks_are_queued_anew_and_completed_ones_stay(conn: psycopg.Connection) -> None:
    run_id = failed_map(conn)
    before = [task_row(conn, run_id, "m", i) for i in range(3)]
    conn.execute(
        "update pgflow.step_tasks set requeued_count = 3, permanently_stalled_at = now(), last_requeued_at = now() "
        "where task_index = 2"
    )
    retry(conn, run_id)
    assert task_row(conn, run_id, "m", 0) == before[0]
    for index in (1, 2):
        task = task_row(conn, run_id, "m", index)
        assert (task["status"], task["attempts_count"], task["requeued_count"]) == ("queued", 0, 0)
        assert task["fence"] == before[index]["fence"] + 1
        assert task["message_id"] > before[index]["message_id"]
        assert task["input"] == before[index]["input"]
        for column in ("error_message", "started_at", "failed_at", "permanently_stalled_at", "leased_until"):
            assert task[column] is None
    assert queued(conn, "flow") == [("m", 1), ("m", 2)]


def test_the_failed_step_is_started_again_with_its_counters_made_anew(conn: psycopg.Connection) -> None:
    run_id = failed_map(conn)
    conn.execute("update pgflow.step_states set remaining_tasks = 77 where step_slug = 'm'")
    conn.execute("update pgflow.step_states set remaining_deps = 5 where step_slug = 'last'")
    first = step_row(conn, run_id, "first")
    retry(conn, run_id)
    m = step_row(conn, run_id, "m")
    assert (m["status"], m["remaining_tasks"], m["failed_at"], m["error_message"]) == ("started", 2, None, None)
    assert step_row(conn, run_id, "last")["remaining_deps"] == 1
    assert step_row(conn, run_id, "first") == first


def test_it_runs_to_its_end(conn: psycopg.Connection) -> None:
    run_id = failed_map(conn)
    retry(conn, run_id)
    for task in poll_and_start(conn, "flow"):
        complete(conn, run_id, "m", {"again": task.input}, task.task_index)
    poll_and_start(conn, "flow")
    assert step_row(conn, run_id, "m")["output"] == ["done", {"again": 20}, {"again": 30}]
    complete(conn, run_id, "last", "end")
    run = run_row(conn, run_id)
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", {"last": "end"}, 0)


def test_every_attempt_is_there_again(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=2, base_delay=0))
    run_id = start(conn, "flow")
    for _ in range(2):
        fail_at(conn, run_id, "a")
        assert task_row(conn, run_id, "a")["attempts_count"] == 2
        assert run_status(conn, run_id) == "failed"
        retry(conn, run_id)
    work_off(conn, run_id)
    assert run_status(conn, run_id) == "completed"


def test_a_handler_that_still_runs_is_stale(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    worker = add_our_worker(conn)
    old = poll(conn, worker)
    call(conn, "cancel_run", run_id=run_id)
    retry(conn, run_id)
    assert extend(conn, worker, *(t.key for t in old)) == [t.key for t in old]
    assert settle(conn, worker, completed(old[0]), failed(old[1])) == ["stale", "stale"]
    new = poll(conn, worker)
    assert [(t.fence, t.attempt) for t in new] == [(3, 1), (3, 1)]
    assert settle(conn, worker, *(completed(t, t.task_index) for t in new)) == ["applied", "applied"]
    assert run_row(conn, run_id)["output"] == {"m": [0, 1]}


def test_a_lost_answer_about_the_failure_is_a_duplicate_still(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    outcome = failed(poll_one(conn, worker), permanent=True)
    assert settle(conn, worker, outcome) == ["applied"]
    retry(conn, run_id)
    assert settle(conn, worker, outcome) == ["duplicate"]
    assert run_status(conn, run_id) == "started"


def test_an_old_message_starts_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    old = task_row(conn, run_id, "a")["message_id"]
    call(conn, "cancel_run", run_id=run_id)
    retry(conn, run_id)
    conn.execute(
        "with back as (delete from pgmq.a_flow returning msg_id, message) "
        "insert into pgmq.q_flow (msg_id, vt, message) overriding system value select msg_id, now(), message from back"
    )
    assert start_tasks(conn, "flow", [old], uuid.uuid4()) == []
    assert [t.msg_id for t in poll(conn, add_our_worker(conn))] == [task_row(conn, run_id, "a")["message_id"]]


def test_a_cancelled_run_goes_on(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), "c")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    call(conn, "cancel_run", run_id=run_id)
    assert retry(conn, run_id)["cancelled_at"] is None
    assert queued(conn, "flow") == [("b", 0), ("c", 0)]
    work_off(conn, run_id)
    assert run_row(conn, run_id)["status"] == "completed"


def test_skipped_steps_stay_skipped(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("s", max_attempts=1, when_exhausted="skip-cascade"),
        step("t", "s"),
        step("unmet", required_input_pattern={"never": 1}),
        step("bad", max_attempts=1),
        step("end", "bad", "unmet"),
    )
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "s")
    fail(conn, run_id, "bad")
    skipped = [step_row(conn, run_id, slug) for slug in ("s", "t", "unmet")]
    assert retry(conn, run_id)["remaining_steps"] == 2
    assert [step_row(conn, run_id, slug) for slug in ("s", "t", "unmet")] == skipped
    work_off(conn, run_id)
    assert run_row(conn, run_id)["output"] == {"end": [1, 2]}


def test_several_failed_steps_go_on_together(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1), step("b", max_attempts=1), step("c", "a", "b"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a")
    fail(conn, run_id, "b")
    assert task_status(conn, run_id, "b") == ["failed"]
    assert step_status(conn, run_id) == {"a": "failed", "b": "started", "c": "created"}
    retry(conn, run_id)
    assert queued(conn, "flow") == [("a", 0), ("b", 0)]
    work_off(conn, run_id)
    assert run_status(conn, run_id) == "completed"


def test_a_task_that_stalled_too_often_gets_its_three_stalls_again(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute("update pgflow.step_tasks set requeued_count = 3, permanently_stalled_at = now()")
    assert value(conn, "select pgflow.fail_stalled_tasks()") == 1
    retry(conn, run_id)
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["requeued_count"], task["permanently_stalled_at"]) == ("queued", 0, None)
    assert value(conn, "select pgflow.fail_stalled_tasks()") == 0


def test_a_condition_that_failed_the_run_is_judged_again(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a", required_input_pattern={"a": [9]}, when_unmet="fail"))
    run_id = start(conn, "flow")
    work_off(conn, run_id)
    assert step_row(conn, run_id, "b")["status"] == "failed"
    run = retry(conn, run_id)
    assert (run["status"], run["error_message"]) == ("failed", "Condition not met")
    conn.execute("update pgflow.steps set required_input_pattern = '{\"a\": [1]}' where step_slug = 'b'")
    run = retry(conn, run_id)
    assert (run["status"], run["remaining_steps"]) == ("started", 1)
    assert step_status(conn, run_id) == {"a": "completed", "b": "started"}


def test_what_was_freed_when_a_condition_failed_the_run_starts(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        "a",
        step("b", "a", required_input_pattern={"a": [9]}, when_unmet="fail"),
        step("c", "a"),
        step("d", "a", required_input_pattern={"a": [9]}),
        step("e", "d"),
    )
    run_id = start(conn, "flow")
    work_off(conn, run_id)
    assert step_status(conn, run_id)["c"] == "created"
    conn.execute("update pgflow.steps set required_input_pattern = null where step_slug = 'b'")
    retry(conn, run_id)
    assert step_status(conn, run_id) == {
        "a": "completed", "b": "started", "c": "started", "d": "skipped", "e": "started",
    }  # fmt: skip


def test_empty_maps_that_the_failure_left_open_complete(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("m", step_type="map"),
        step("strict", required_input_pattern={"x": 1}, when_unmet="fail"),
        step("after", "m", step_type="map"),
    )
    run_id = start(conn, "flow", [])
    assert step_status(conn, run_id) == {"m": "created", "strict": "failed", "after": "created"}
    conn.execute("update pgflow.steps set required_input_pattern = null")
    retry(conn, run_id)
    assert step_status(conn, run_id) == {"m": "completed", "strict": "started", "after": "completed"}
    work_off(conn, run_id)
    assert run_row(conn, run_id)["output"] == {"strict": [1, 2], "after": []}


def test_a_type_violation_goes_on_since_the_step_that_made_it_runs_again(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", {"no": "array"})
    assert task_row(conn, run_id, "a")["output"] == {"no": "array"}
    retry(conn, run_id)
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["output"], task["error_message"]) == ("queued", None, None)
    work_off(conn, run_id)
    assert run_row(conn, run_id)["output"] == {"m": [[1, 2], [1, 2]]}


def test_a_wrong_length_is_refused_since_the_step_that_made_it_has_completed(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    conn.execute("update pgflow.steps set initial_tasks = 3 where step_slug = 'm'")
    run_id = start(conn, "flow")
    work_off(conn, run_id)
    before = everything(conn)
    with raises(
        f'Run {run_id} cannot be retried: Map step "m" expected 3 elements, got 2 from step "a", which has completed '
        "(rerun from it)",
        "55000",
    ):
        retry(conn, run_id)
    assert everything(conn) == before


def everything(conn: psycopg.Connection) -> list[Any]:
    return [rows(conn, f"select * from pgflow.{table} order by 1, 2, 3") for table in
            ("runs", "step_states", "step_tasks")]  # fmt: skip


def test_retrying_again_changes_nothing(conn: psycopg.Connection) -> None:
    run_id = failed_map(conn)
    retry(conn, run_id)
    before = everything(conn)
    assert retry(conn, run_id) == run_row(conn, run_id)
    assert everything(conn) == before
    assert len(queued(conn, "flow")) == 2


def test_a_completed_run_is_refused(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow")
    run_id = start(conn, "flow")
    with raises(
        f"Run {run_id} has completed and cannot be retried (rerun starts a new run from one of its steps)", "55000"
    ):
        retry(conn, run_id)


def test_it_works_after_the_messages_were_pruned(conn: psycopg.Connection) -> None:
    run_id = failed_map(conn)
    conn.execute("truncate pgmq.a_flow")
    conn.execute("truncate pgmq.q_flow")
    retry(conn, run_id)
    work_off(conn, run_id)
    assert run_status(conn, run_id) == "completed"


@pytest.mark.parametrize("lost", ["step_tasks where task_index = 2", "step_tasks"])
def test_it_is_refused_when_its_rows_were_deleted(conn: psycopg.Connection, lost: str) -> None:
    run_id = failed_map(conn)
    conn.execute(f"delete from pgflow.{lost}")
    with raises(f"Run {run_id} cannot be retried: rows of its steps or tasks were deleted", "55000"):
        retry(conn, run_id)
    conn.execute("delete from pgflow.step_tasks")
    conn.execute("delete from pgflow.step_states")
    with raises(f"Run {run_id} cannot be retried: rows of its steps or tasks were deleted", "55000"):
        retry(conn, run_id)
    conn.execute("delete from pgflow.runs")
    with raises(f"Run not found: {run_id}", "P0002"):
        retry(conn, run_id)


def test_events_run_started_is_sent_again_and_then_the_steps(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    run_id = failed_map(conn)
    forget_events(conn)
    retry(conn, run_id)
    assert sent(conn, run_id) == ["run:started", "step:m:started"]
    assert payload(conn, "run:started")["remaining_steps"] == 2
    assert payload(conn, "step:m:started")["remaining_tasks"] == 2


def test_a_delayed_run_still_waits_for_its_time(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    (run,) = conn.execute(
        "select run_id from pgflow.start_flows('flow', array['1'::jsonb], start_at => now() + interval '1 hour')"
    ).fetchall()
    call(conn, "cancel_run", run_id=run[0])
    retry(conn, run[0])
    assert 3500 < visible_in(conn, "flow", task_row(conn, run[0], "a")["message_id"]) <= 3600


def test_workers_are_woken(conn: psycopg.Connection, dsn: str) -> None:
    run_id = failed_map(conn)
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_work")
        retry(conn, run_id)
        assert [n.payload for n in listener.notifies(timeout=20, stop_after=1)] == ["flow"]
