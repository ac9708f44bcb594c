"""poll_tasks: what it claims and returns, fairness, dead messages, the time of the next message."""

from __future__ import annotations

import json
import uuid

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import add_our_worker, completed, failed, poll, poll_all, poll_one, run, settle
from tests.sql.flows import (
    archived,
    complete,
    create_flow,
    make_visible,
    poll_and_start,
    queued,
    run_status,
    start,
    step,
    task_row,
    task_status,
    visible_in,
)
from tests.support import rows, value


def test_a_root_step_gets_the_runs_input_as_flow_input(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=4, base_delay=7, timeout=99))
    run_id = start(conn, "flow", {"x": 1})
    task = poll_one(conn, add_our_worker(conn))
    assert (task.flow_slug, task.run_id, task.step_slug, task.task_index) == ("flow", run_id, "a", 0)
    assert (json.loads(task.input), json.loads(task.flow_input)) == ({}, {"x": 1})
    assert (task.fence, task.attempt, task.max_attempts, task.base_delay, task.timeout) == (1, 1, 4, 7, 99)
    assert task.msg_id == task_row(conn, run_id, "a")["message_id"]


def test_a_dependent_step_gets_its_completed_dependencies(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        "a",
        step("b"),
        step("c", required_input_pattern={"never": True}),
        step("d", "a", "b", "c"),
    )
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    poll(conn, worker)
    complete(conn, run_id, "a", [1])
    complete(conn, run_id, "b", None)
    task = poll_one(conn, worker)
    assert (task.step_slug, json.loads(task.input), task.flow_input) == ("d", {"a": [1], "b": None}, None)


def test_a_map_task_gets_its_bare_element(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", [1, None, {"x": []}])
    tasks = poll(conn, add_our_worker(conn))
    assert [(json.loads(t.input), t.flow_input) for t in tasks] == [(1, None), (None, None), ({"x": []}, None)]


def test_the_claim_is_written_to_the_task_and_hides_its_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", timeout=5)
    run_id = start(conn, "flow")
    worker = add_our_worker(conn)
    task = poll_one(conn, worker, lease=40)
    row = task_row(conn, run_id, "a")
    assert (row["status"], row["attempts_count"], row["last_worker_id"]) == ("started", 1, worker)
    assert 35 < visible_in(conn, "flow", task.msg_id) <= 40
    assert value(conn, "select t.leased_until = q.vt from pgflow.step_tasks t, pgmq.q_flow q")


def test_a_poll_takes_no_more_than_it_was_asked_for(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", list(range(7)))
    worker = add_our_worker(conn)
    polls = [poll(conn, worker, qty=3) for _ in range(4)]
    assert [[t.task_index for t in tasks] for tasks in polls] == [[0, 1, 2], [3, 4, 5], [6], []]


@pytest.mark.parametrize("slugs", [["nowhere"], ["other"]])
def test_only_the_flows_asked_for_are_polled(conn: psycopg.Connection, slugs: list[str]) -> None:
    create_flow(conn, "flow", "a")
    create_flow(conn, "other", "a")
    start(conn, "flow")
    polled = poll_all(conn, add_our_worker(conn), *slugs)
    assert (polled.tasks, polled.next_visible_in) == ((), None)


def test_no_flows_nothing(conn: psycopg.Connection) -> None:
    polled = run(conn, calls.poll_tasks([], uuid.uuid4(), qty=1, lease=1))
    assert (polled.tasks, polled.next_visible_in) == ((), None)


def test_a_slug_in_capitals_is_polled(conn: psycopg.Connection) -> None:
    create_flow(conn, "MyFlow", "a")
    start(conn, "MyFlow")
    assert poll_one(conn, add_our_worker(conn), "MyFlow").flow_slug == "MyFlow"


# ------------------------------------------------------------------------------- fairness


def start_many(conn: psycopg.Connection, **elements: int) -> None:
    for slug, n in elements.items():
        create_flow(conn, slug, step("m", step_type="map"))
        start(conn, slug, list(range(n)))


def shares(tasks: list) -> dict[str, int]:
    slugs = [t.flow_slug for t in tasks]
    return {slug: slugs.count(slug) for slug in sorted(set(slugs))}


def test_no_flow_starves_another(conn: psycopg.Connection) -> None:
    start_many(conn, large=300, middle=40, small=2)
    tasks = poll(conn, add_our_worker(conn), "large", "middle", "small", qty=30)
    served = shares(tasks)
    assert sum(served.values()) == 30
    assert served["small"] == 2
    assert min(served["large"], served["middle"]) >= 10


def test_what_one_flow_does_not_need_goes_to_the_others(conn: psycopg.Connection) -> None:
    start_many(conn, empty=0, large=300, small=1)
    assert shares(poll(conn, add_our_worker(conn), "empty", "large", "small", qty=100)) == {"large": 99, "small": 1}


def test_polls_for_one_task_serve_every_flow_in_the_end(conn: psycopg.Connection) -> None:
    start_many(conn, a=200, b=200, c=200)
    worker = add_our_worker(conn)
    served = shares([task for _ in range(60) for task in poll(conn, worker, "a", "b", "c", qty=1)])
    assert sorted(served) == ["a", "b", "c"]


# ------------------------------------------------------------------------------- next_visible_in


def test_the_time_of_the_next_message_is_told(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", start_delay=30))
    create_flow(conn, "later", step("a", start_delay=300))
    start(conn, "later")
    start(conn, "flow")
    worker = add_our_worker(conn)
    assert 25 < poll_all(conn, worker, "flow", "later").next_visible_in <= 30
    assert 295 < poll_all(conn, worker, "later").next_visible_in <= 300


def test_without_messages_there_is_no_next_one(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    assert poll_all(conn, add_our_worker(conn)).next_visible_in is None


def test_a_retry_is_told_as_the_next_message(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    worker = add_our_worker(conn)
    settle(conn, worker, failed(poll_one(conn, worker), retry_in=20))
    assert 15 < poll_all(conn, worker).next_visible_in <= 20


# ------------------------------------------------------------------------------- messages that cannot start


def open_map(conn: psycopg.Connection, **options: object) -> uuid.UUID:
    create_flow(conn, "flow", step("m", step_type="map", **options), "other")
    return start(conn, "flow", [1, 2])


def send_again(conn: psycopg.Connection, run_id: uuid.UUID, slug: str = "m", index: int = 0) -> int:
    """A message for a task, as if it had never been archived."""
    sql = "select pgmq.send('flow', %s)"
    message = {"flow_slug": "flow", "run_id": str(run_id), "step_slug": slug, "task_index": index}
    msg_id: int = value(conn, sql, psycopg.types.json.Jsonb(message))
    return msg_id


@pytest.mark.parametrize(
    "spoil",
    [
        "update pgflow.runs set status = 'failed', failed_at = now()",
        "update pgflow.step_states set status = 'skipped', skip_reason = 'x', skipped_at = now(), "
        "remaining_tasks = null where step_slug = 'm'",
        "update pgflow.step_tasks set status = 'completed', completed_at = now() where step_slug = 'm'",
        "update pgflow.step_tasks set status = 'failed', failed_at = now() where step_slug = 'm'",
        "update pgflow.step_tasks set status = 'started', started_at = now(), permanently_stalled_at = now() "
        "where step_slug = 'm'",
        "update pgflow.step_tasks set message_id = message_id + 1000 where step_slug = 'm'",
        "update pgflow.step_tasks set message_id = null where step_slug = 'm'",
        "delete from pgflow.step_tasks where step_slug = 'm'",
    ],
)
def test_a_message_whose_task_cannot_start_is_archived_on_sight(conn: psycopg.Connection, spoil: str) -> None:
    open_map(conn)
    conn.execute(spoil)
    tasks = poll(conn, add_our_worker(conn))
    assert {t.step_slug for t in tasks} <= {"other"}
    assert [m for m in queued(conn, "flow") if m[0] == "m"] == []
    assert [m for m in archived(conn, "flow") if m[0] == "m"] == [("m", 0), ("m", 1)]


def test_a_second_message_of_a_task_is_archived_and_the_first_one_stays(conn: psycopg.Connection) -> None:
    run_id = open_map(conn)
    send_again(conn, run_id)
    worker = add_our_worker(conn)
    tasks = poll(conn, worker)
    assert [(t.step_slug, t.task_index) for t in tasks] == [("m", 0), ("m", 1), ("other", 0)]
    assert archived(conn, "flow") == [("m", 0)]
    assert len(queued(conn, "flow")) == 3


@pytest.mark.parametrize("message", ["{}", "[]", '"x"', "null", '{"run_id": "x", "step_slug": 1, "task_index": "y"}'])
def test_a_message_that_names_no_task_is_archived_and_holds_nothing_up(conn: psycopg.Connection, message: str) -> None:
    create_flow(conn, "flow", "a")
    conn.execute("select pgmq.send('flow', %s::jsonb)", (message,))
    start(conn, "flow")
    assert poll_one(conn, add_our_worker(conn)).step_slug == "a"
    assert value(conn, "select count(*) from pgmq.q_flow") == 1
    assert value(conn, "select count(*) from pgmq.a_flow") == 1


def test_dead_messages_do_not_hide_the_living_behind_them(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    dead = start(conn, "flow", list(range(10)))
    conn.execute("update pgflow.runs set status = 'failed', failed_at = now() where run_id = %s", (dead,))
    alive = start(conn, "flow", [1])
    assert [t.run_id for t in poll(conn, add_our_worker(conn), qty=2)] == [alive]


def test_a_step_is_never_failed_by_a_poll(conn: psycopg.Connection) -> None:
    run_id = open_map(conn)
    conn.execute("update pgflow.step_tasks set permanently_stalled_at = now(), status = 'started', started_at = now()")
    poll(conn, add_our_worker(conn))
    assert run_status(conn, run_id) == "started"
    assert task_status(conn, run_id, "m") == ["started", "started"]


def test_no_task_is_left_behind_when_a_flow_fails_under_a_poller(conn: psycopg.Connection) -> None:
    run_id = open_map(conn, max_attempts=1)
    worker = add_our_worker(conn)
    first, second, other = poll(conn, worker)
    settle(conn, worker, failed(first))
    make_visible(conn, "flow")
    assert poll(conn, worker) == []
    assert settle(conn, worker, completed(second), completed(other)) == ["gone", "gone"]
    assert (run_status(conn, run_id), queued(conn, "flow")) == ("failed", [])


# ------------------------------------------------------------------------------- tasks of other workers


def test_a_task_that_start_tasks_claimed_is_not_robbed_but_asked_again_when_its_time_is_over(
    conn: psycopg.Connection,
) -> None:
    create_flow(conn, "flow", step("a", timeout=20), timeout=1)
    start(conn, "flow")
    (theirs,) = poll_and_start(conn, "flow")
    make_visible(conn, "flow")
    worker = add_our_worker(conn)
    polled = poll_all(conn, worker)
    assert polled.tasks == ()
    assert 45 < visible_in(conn, "flow", theirs.msg_id) <= 50
    assert 45 < polled.next_visible_in <= 50


def test_a_message_that_somebody_else_is_reading_is_passed_over(conn: psycopg.Connection, dsn: str) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", [1, 2, 3])
    worker = add_our_worker(conn)
    with psycopg.connect(dsn) as other:
        taken = rows(other, "select msg_id from pgmq.read('flow', 30, 1)")
        assert [t.task_index for t in poll(conn, worker)] == [1, 2]
    assert len(taken) == 1
