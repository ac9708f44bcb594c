"""settle_tasks: verdicts in their order, counters that move once, retries, releases."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    add_our_worker,
    backdate_start,
    completed,
    failed,
    poll,
    poll_all,
    poll_one,
    released,
    run,
    settle,
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
    step,
    step_row,
    step_status,
    task_row,
    task_status,
    visible_in,
)
from tests.support import value


def start_map(conn: psycopg.Connection, elements: int, *more: object, **options: object) -> uuid.UUID:
    create_flow(conn, "flow", step("m", step_type="map", **options), *more)
    return start(conn, "flow", list(range(elements)))


# ------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("outcome", [completed, failed, released, lambda task: failed(task, permanent=True)])
def test_an_outcome_sent_again_is_a_duplicate_and_changes_nothing(conn: psycopg.Connection, outcome) -> None:
    run_id = start_map(conn, 3)
    worker = add_our_worker(conn)
    task = poll(conn, worker)[0]
    assert settle(conn, worker, outcome(task)) == ["applied"]
    before = task_row(conn, run_id, "m"), step_row(conn, run_id, "m"), run_row(conn, run_id)
    assert settle(conn, worker, outcome(task)) == ["duplicate"]
    assert settle(conn, worker, completed(task, "other")) == ["duplicate"]
    assert (task_row(conn, run_id, "m"), step_row(conn, run_id, "m"), run_row(conn, run_id)) == before


def test_a_duplicate_is_one_even_when_the_run_has_ended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    settle(conn, worker, completed(task))
    assert run_status(conn, run_id) == "completed"
    assert settle(conn, worker, completed(task)) == ["duplicate"]


def test_the_second_of_two_outcomes_with_one_fence_is_a_duplicate(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 2)
    worker = add_our_worker(conn)
    first, _ = poll(conn, worker)
    assert settle(conn, worker, completed(first, "one"), completed(first, "two"), failed(first)) == [
        "applied",
        "duplicate",
        "duplicate",
    ]
    assert task_row(conn, run_id, "m")["output"] == "one"
    assert step_row(conn, run_id, "m")["remaining_tasks"] == 1


@pytest.mark.parametrize("outcome", [completed, failed, released])
def test_an_outcome_under_an_older_fence_is_stale(conn: psycopg.Connection, outcome) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    old = poll_one(conn, worker)
    fail(conn, run_id, "a")
    make_visible(conn, "flow")
    poll_and_start(conn, "flow")
    assert settle(conn, worker, outcome(old)) == ["stale"]
    assert task_status(conn, run_id, "a") == ["started"]


def test_an_outcome_under_a_fence_that_never_was_is_stale(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    assert settle(conn, worker, completed(replace(task, fence=99))) == ["stale"]


def test_stale_comes_before_gone(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", base_delay=0)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    old = poll_one(conn, worker)
    fail(conn, run_id, "a")
    new = poll_one(conn, worker)
    settle(conn, worker, completed(new))
    assert settle(conn, worker, completed(old)) == ["stale"]


def test_an_outcome_for_a_failed_run_is_gone(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 2)
    worker = add_our_worker(conn)
    first, second = poll(conn, worker)
    settle(conn, worker, failed(first, permanent=True))
    assert settle(conn, worker, completed(second)) == ["gone"]
    assert task_status(conn, run_id, "m") == ["failed", "started"]


def test_an_outcome_for_a_skipped_step_is_gone(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 2, step("b"), when_exhausted="skip")
    worker = add_our_worker(conn)
    _, first, second = poll(conn, worker)
    settle(conn, worker, failed(first, permanent=True))
    assert run_status(conn, run_id) == "started"
    assert settle(conn, worker, completed(second)) == ["gone"]
    assert settle(conn, worker, failed(second)) == ["gone"]


def test_an_outcome_for_a_deleted_run_is_gone(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    for table in ("step_tasks", "step_states", "runs"):
        conn.execute(f"delete from pgflow.{table} where run_id = %s", (run_id,))
    assert settle(conn, worker, completed(task)) == ["gone"]


@pytest.mark.parametrize("outcome", [completed, failed, released])
def test_an_outcome_for_a_task_that_a_contract_call_closed_is_stale(conn: psycopg.Connection, outcome) -> None:
    run_id = start_map(conn, 2)
    worker = add_our_worker(conn)
    task = poll(conn, worker)[0]
    complete(conn, run_id, "m", "theirs")
    assert settle(conn, worker, outcome(task)) == ["stale"]
    assert task_row(conn, run_id, "m")["output"] == "theirs"
    assert step_row(conn, run_id, "m")["remaining_tasks"] == 1


def test_gone_comes_before_stale_where_a_contract_call_ended_the_step(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll(conn, worker)[0]
    complete(conn, run_id, "a", "theirs")
    assert settle(conn, worker, completed(task)) == ["gone"]


def test_a_lapsed_lease_does_not_matter_while_nobody_else_has_the_task(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    conn.execute("update pgflow.step_tasks set leased_until = clock_timestamp() - interval '1 hour'")
    assert settle(conn, worker, completed(task, 1)) == ["applied"]
    assert run_row(conn, run_id)["output"] == {"a": 1}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (completed, "completed"),
        (failed, "queued"),
        (lambda t: failed(t, permanent=True), "failed"),
        (released, "queued"),
    ],
)
def test_an_outcome_applies_from_queued_after_a_requeue(conn: psycopg.Connection, outcome, status: str) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    conn.execute("update pgflow.step_tasks set leased_until = null")
    backdate_start(conn, 100)
    assert run(conn, calls.requeue_stalled_tasks()) == 1
    assert settle(conn, worker, outcome(task)) == ["applied"]
    assert task_status(conn, run_id, "a") == [status]
    assert len(queued(conn, "flow")) == (status == "queued")


def test_an_outcome_is_stale_once_somebody_claimed_the_requeued_task(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    conn.execute("update pgflow.step_tasks set leased_until = null")
    backdate_start(conn, 100)
    run(conn, calls.requeue_stalled_tasks())
    poll_one(conn, add_our_worker(conn))
    assert settle(conn, worker, completed(task)) == ["stale"]


def test_verdicts_come_in_the_order_of_the_outcomes(conn: psycopg.Connection) -> None:
    start_map(conn, 4)
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    settle(conn, worker, completed(tasks[2]))
    unknown = replace(tasks[0], run_id=uuid.uuid4())
    verdicts = settle(
        conn,
        worker,
        completed(tasks[2]),
        completed(tasks[3]),
        completed(unknown),
        completed(replace(tasks[1], fence=7)),
        failed(tasks[0]),
        completed(tasks[3]),
    )
    assert verdicts == ["duplicate", "applied", "gone", "stale", "applied", "duplicate"]


def test_no_outcomes_no_verdicts(conn: psycopg.Connection) -> None:
    assert settle(conn, add_our_worker(conn)) == []


def test_an_outcome_without_a_known_status_is_refused_and_nothing_is_applied(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    with pytest.raises(psycopg.errors.RaiseException, match="every outcome needs a status"):
        settle(conn, worker, completed(task), replace(completed(task), status="done"))
    assert task_status(conn, run_id, "a") == ["started"]


# ------------------------------------------------------------------------------- counters


def test_a_batch_moves_the_counter_by_the_tasks_that_changed(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 6)
    worker = add_our_worker(conn)
    a, b, c, d, e, _ = poll(conn, worker)
    complete(conn, run_id, "m", "theirs", d.task_index)
    verdicts = settle(conn, worker, *(completed(t) for t in (a, b, a, d)), released(c), failed(e), completed(b))
    assert verdicts == ["applied", "applied", "duplicate", "stale", "applied", "applied", "duplicate"]
    assert step_row(conn, run_id, "m")["remaining_tasks"] == 3


def test_a_batch_over_several_runs_and_steps_of_several_flows(conn: psycopg.Connection) -> None:
    create_flow(conn, "one", "a", "b", step("c", "a", "b"))
    create_flow(conn, "two", step("m", step_type="map"), step("n", "m", step_type="map"))
    run_ids = [start(conn, "one") for _ in range(3)]
    maps = [start(conn, "two", [1, 2]) for _ in range(2)]
    worker = add_our_worker(conn)
    while tasks := poll(conn, worker, "one", "two"):
        assert set(settle(conn, worker, *(completed(t, t.step_slug) for t in tasks))) == {"applied"}
    assert [run_row(conn, r)["output"] for r in run_ids] == [{"c": "c"}] * 3
    assert [run_row(conn, r)["output"] for r in maps] == [{"n": ["n", "n"]}] * 2
    assert [run_row(conn, r)["remaining_steps"] for r in (*run_ids, *maps)] == [0] * 5
    assert queued(conn, "one") == queued(conn, "two") == []
    assert (len(archived(conn, "one")), len(archived(conn, "two"))) == (9, 8)


def test_a_thousand_outcomes_in_one_call(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 1000)
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    assert settle(conn, worker, *(completed(t, t.task_index) for t in reversed(tasks))) == ["applied"] * 1000
    assert run_row(conn, run_id)["output"] == {"m": list(range(1000))}


def test_several_steps_of_a_run_end_in_one_call(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b", step("c", "a", "b"), step("d", "a"))
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, *(completed(t, t.step_slug) for t in poll(conn, worker)))
    assert step_status(conn, run_id) == {"a": "completed", "b": "completed", "c": "started", "d": "started"}
    assert run_row(conn, run_id)["remaining_steps"] == 2
    c, d = poll(conn, worker)
    assert (json.loads(c.input), json.loads(d.input)) == ({"a": "a", "b": "b"}, {"a": "a"})


def test_two_final_failures_in_one_call_skip_a_step_once(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 3, step("b"), step("c", "m"), when_exhausted="skip")
    worker = add_our_worker(conn)
    b, *tasks = poll(conn, worker)
    verdicts = settle(conn, worker, *(failed(t, f"boom {t.task_index}", permanent=True) for t in tasks))
    assert verdicts == ["applied", "gone", "gone"]
    assert step_row(conn, run_id, "m")["error_message"] == "boom 0"
    assert run_row(conn, run_id)["remaining_steps"] == 2
    assert settle(conn, worker, completed(b)) == ["applied"]


def test_what_completes_in_a_call_counts_before_what_fails_the_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    a, b = poll(conn, worker)
    assert settle(conn, worker, failed(a, permanent=True), completed(b, 1)) == ["applied", "applied"]
    assert step_status(conn, run_id) == {"a": "failed", "b": "completed"}
    assert run_row(conn, run_id)["error_message"] == "boom"


# ------------------------------------------------------------------------------- outputs


@pytest.mark.parametrize("output", [None, 0, "", False, [], {}, {"a": [1, None]}, "é\u2028"])
def test_outputs_are_stored_as_they_are(conn: psycopg.Connection, output: object) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, completed(poll_one(conn, worker), output))
    assert run_row(conn, run_id)["output"] == {"a": output}


def test_a_map_gathers_its_outputs_in_the_order_of_indexes(conn: psycopg.Connection) -> None:
    run_id = start_map(conn, 12)
    worker = add_our_worker(conn)
    for task in reversed(poll(conn, worker)):
        settle(conn, worker, completed(task, f"#{task.task_index}"))
    assert step_row(conn, run_id, "m")["output"] == [f"#{i}" for i in range(12)]


def test_no_array_for_a_map_fails_the_run_without_a_retry(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map"))
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    assert settle(conn, worker, completed(poll_one(conn, worker), {"x": 1})) == ["applied"]
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["output"]) == ("failed", {"x": 1})
    assert task["error_message"] == "[TYPE_VIOLATION] Produced object instead of array"
    assert run_row(conn, run_id)["error_message"] == (
        "[TYPE_VIOLATION] Map step m expects array input but dependency a produced object"
    )
    assert queued(conn, "flow") == []


# ------------------------------------------------------------------------------- release, retry, fail


def test_release_gives_the_attempt_back_and_is_visible_at_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker, lease=60)
    assert settle(conn, worker, released(task)) == ["applied"]
    row = task_row(conn, run_id, "a")
    assert (row["status"], row["attempts_count"], row["requeued_count"]) == ("queued", 0, 0)
    assert (row["started_at"], row["leased_until"], row["error_message"]) == (None, None, None)
    assert visible_in(conn, "flow", task.msg_id) <= 0
    assert poll_one(conn, worker).attempt == 1


def test_releases_never_use_up_the_attempts(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", max_attempts=2)
    start(conn, "flow")
    worker = add_our_worker(conn)
    for _ in range(5):
        settle(conn, worker, released(poll_one(conn, worker)))
    assert poll_one(conn, worker).attempt == 1


@pytest.mark.parametrize(("attempt", "delay"), [(1, 6), (2, 12), (3, 24)])
def test_a_retry_waits_as_long_as_the_contract_says(conn: psycopg.Connection, attempt: int, delay: int) -> None:
    create_flow(conn, "flow", "a", max_attempts=5, base_delay=3)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    for _ in range(attempt):
        make_visible(conn, "flow")
        task = poll_one(conn, worker)
        settle(conn, worker, failed(task, f"boom {task.attempt}"))
    row = task_row(conn, run_id, "a")
    assert (row["status"], row["attempts_count"], row["error_message"]) == ("queued", attempt, f"boom {attempt}")
    assert (row["started_at"], row["failed_at"], row["leased_until"]) == (None, None, None)
    assert delay - 5 < visible_in(conn, "flow", task.msg_id) <= delay


@pytest.mark.parametrize("retry_in", [0, 0.5, 40])
def test_retry_in_overrides_the_backoff(conn: psycopg.Connection, retry_in: float) -> None:
    create_flow(conn, "flow", "a", base_delay=1000)
    start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    settle(conn, worker, failed(task, retry_in=retry_in))
    assert retry_in - 5 < visible_in(conn, "flow", task.msg_id) <= retry_in


def test_a_retry_and_its_delay_are_the_steps_before_the_flows(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=2, base_delay=50, timeout=7), max_attempts=1, base_delay=0)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker)
    assert (task.max_attempts, task.base_delay, task.timeout) == (2, 50, 7)
    settle(conn, worker, failed(task))
    assert task_status(conn, run_id, "a") == ["queued"]
    assert 90 < visible_in(conn, "flow", task.msg_id) <= 100


@pytest.mark.parametrize("max_attempts", [0, 1])
def test_the_last_attempt_fails_the_task_its_step_and_its_run(conn: psycopg.Connection, max_attempts: int) -> None:
    create_flow(conn, "flow", "a", max_attempts=max_attempts)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    assert settle(conn, worker, failed(poll_one(conn, worker), "no", retry_in=5)) == ["applied"]
    assert task_row(conn, run_id, "a")["error_message"] == "no"
    assert step_row(conn, run_id, "a")["error_message"] == "no"
    run_ = run_row(conn, run_id)
    assert (run_["status"], run_["error_message"]) == ("failed", "no")
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([], [("a", 0)])


def test_a_permanent_failure_is_not_retried(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", max_attempts=9)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, failed(poll_one(conn, worker), permanent=True))
    assert task_status(conn, run_id, "a") == ["failed"]
    assert run_status(conn, run_id) == "failed"


@pytest.mark.parametrize(
    ("when_exhausted", "steps", "run_ends"),
    [
        ("fail", {"a": "failed", "b": "created", "c": "created"}, "failed"),
        ("skip", {"a": "skipped", "b": "started", "c": "created"}, "started"),
        ("skip-cascade", {"a": "skipped", "b": "skipped", "c": "skipped"}, "completed"),
    ],
)
def test_a_final_failure_goes_the_way_of_when_exhausted(
    conn: psycopg.Connection, when_exhausted: str, steps: dict[str, str], run_ends: str
) -> None:
    create_flow(conn, "flow", step("a", when_exhausted=when_exhausted), step("b", "a"), step("c", "b"))
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, failed(poll_one(conn, worker), permanent=True))
    assert step_status(conn, run_id) == steps
    assert run_status(conn, run_id) == run_ends
    assert task_status(conn, run_id, "a") == ["failed"]


# ------------------------------------------------------------------------------- with the contract's functions


def test_the_fast_path_and_the_contract_work_on_one_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("sum", "m"), base_delay=0)
    run_id = start(conn, "flow", [1, 2, 3, 4])
    worker = add_our_worker(conn)
    ours = poll_all(conn, worker, qty=2).tasks
    theirs = poll_and_start(conn, "flow")
    assert (len(ours), len(theirs)) == (2, 2)
    complete(conn, run_id, "m", 10, ours[0].task_index)
    settle(conn, worker, failed(ours[1], retry_in=0))
    fail(conn, run_id, "m", task_index=theirs[0].task_index)
    complete(conn, run_id, "m", 20, theirs[1].task_index)
    for task in poll(conn, worker):
        settle(conn, worker, completed(task, 30))
    assert sorted(step_row(conn, run_id, "m")["output"]) == [10, 20, 30, 30]
    (last,) = poll_and_start(conn, "flow")
    complete(conn, run_id, "sum", sum(last.input["m"]))
    assert run_row(conn, run_id)["output"] == {"sum": 90}


def test_a_completed_task_names_the_worker_that_settled_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, completed(poll_one(conn, worker)))
    row = task_row(conn, run_id, "a")
    assert (row["last_worker_id"], row["leased_until"]) == (worker, None)
    assert value(conn, "select completed_at >= started_at and started_at >= queued_at from pgflow.step_tasks")
