"""settle_and_poll with only_follow_ups: who settles gets what follows, claimed as it is made; queues are not read."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Polled, Task
from tests.sql.engine.work import (
    Heard,
    add_our_worker,
    completed,
    failed,
    lapse,
    poll,
    poll_one,
    released,
    run,
    settle,
    settle_and_go_on,
)
from tests.sql.flows import create_flow, start, step
from tests.support import rows, value


def begin(conn: psycopg.Connection, *steps: Any, input: Any = {}) -> tuple[Any, Task]:  # noqa: B006
    """A worker, and the task of step a that it holds."""
    create_flow(conn, "flow", "a", *steps)
    start(conn, "flow", input)
    worker = add_our_worker(conn)
    return worker, poll_one(conn, worker)


def test_what_follows_is_a_claim_like_any_other(conn: psycopg.Connection) -> None:
    worker, a = begin(conn, step("b", "a"))
    verdicts, polled = settle_and_go_on(conn, worker, completed(a, 7))
    (b,) = polled.tasks
    assert (verdicts, polled.next_visible_in) == (["applied"], None)
    assert (b.step_slug, b.input, b.flow_input) == ("b", b'{"a": 7}', None)
    assert (b.fence, b.attempt, b.max_attempts, b.timeout) == (1, 1, a.max_attempts, a.timeout)
    assert rows(
        conn,
        "select t.status, t.attempts_count, t.last_worker_id, t.started_at >= t.queued_at, "
        "t.leased_until - now() between '1 s' and '2 s', m.vt = t.leased_until, m.read_ct "
        "from pgflow.step_tasks t join pgmq.q_flow m on m.msg_id = t.message_id where t.step_slug = 'b'",
    ) == [("started", 1, worker, True, True, True, 1)]
    assert settle_and_go_on(conn, worker, completed(b)) == (["applied"], Polled((), None))
    assert value(conn, "select status from pgflow.runs") == "completed"


def test_what_waits_in_the_queue_stays_there(conn: psycopg.Connection) -> None:
    worker, a = begin(conn, step("b", "a"))
    start(conn, "flow")
    _, polled = settle_and_go_on(conn, worker, completed(a))
    assert [t.step_slug for t in polled.tasks] == ["b"]
    assert poll_one(conn, worker).step_slug == "a"


def test_a_map_comes_with_its_elements_in_their_order(conn: psycopg.Connection) -> None:
    worker, a = begin(conn, step("m", "a", step_type="map"))
    _, polled = settle_and_go_on(conn, worker, completed(a, ["x", None, 3]))
    assert [(t.task_index, t.input, t.flow_input) for t in polled.tasks] == [
        (0, b'"x"', None), (1, b"null", None), (2, b"3", None),
    ]  # fmt: skip


def test_several_steps_and_runs_come_at_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), step("c", "a"))
    start(conn, "flow")
    start(conn, "flow")
    worker = add_our_worker(conn)
    _, polled = settle_and_go_on(conn, worker, *map(completed, poll(conn, worker)))
    assert sorted(t.step_slug for t in polled.tasks) == ["b", "b", "c", "c"]
    assert len({t.key for t in polled.tasks}) == 4


@pytest.mark.parametrize(
    ("qty", "slugs", "delay", "is_paused"),
    [
        (1, ("flow",), None, False),
        (0, ("flow",), None, False),
        (9, ("other",), None, False),
        (9, (), None, False),
        (9, ("flow",), 1, False),
        (9, ("flow",), None, True),
    ],
)
def test_of_a_flow_all_come_or_none_and_those_left_are_told_of(
    conn: psycopg.Connection, heard: Heard, qty: int, slugs: tuple[str, ...], delay: int | None, is_paused: bool
) -> None:
    create_flow(conn, "other", "x")
    worker, a = begin(conn, step("b", "a"), step("c", "a", start_delay=delay))
    if is_paused:
        run(conn, calls.pause_flow("flow"))
    heard()
    assert settle_and_go_on(conn, worker, completed(a), slugs=slugs, qty=qty) == (["applied"], Polled((), None))
    assert heard() == [("pgflow_work", "flow")]
    assert rows(conn, "select status from pgflow.step_tasks where step_slug <> 'a'") == [("queued",), ("queued",)]
    assert value(conn, "select count(*) from pgmq.q_flow where read_ct = 0") == 2


def test_nobody_is_told_of_what_was_handed_over(conn: psycopg.Connection, heard: Heard) -> None:
    worker, a = begin(conn, step("b", "a"))
    heard()
    settle_and_go_on(conn, worker, completed(a))
    assert heard() == []


def test_each_flow_counts_for_itself(conn: psycopg.Connection, heard: Heard) -> None:
    """The first fits; of what is then left, the second's map does not."""
    create_flow(conn, "one", "a", step("b", "a"))
    create_flow(conn, "two", "a", step("m", "a", step_type="map"))
    start(conn, "one")
    start(conn, "two")
    worker = add_our_worker(conn)
    one, two = poll(conn, worker, "one", "two")
    heard()
    _, polled = settle_and_go_on(conn, worker, completed(one), completed(two, [1, 2, 3]), slugs=("one", "two"), qty=3)
    assert [t.flow_slug for t in polled.tasks] == ["one"]
    assert heard() == [("pgflow_work", "two")]


@pytest.mark.parametrize("outcome", [failed, released, lambda t: failed(t, permanent=True)])
def test_beside_anything_but_results_the_queue_gets_it(conn: psycopg.Connection, heard: Heard, outcome: Any) -> None:
    """A run that fails in the same call must not leave anybody with a task of it."""
    create_flow(conn, "flow", "a", "z", step("b", "a"))
    start(conn, "flow")
    worker = add_our_worker(conn)
    a, z = poll(conn, worker)
    heard()
    assert settle_and_go_on(conn, worker, completed(a), outcome(z)) == (["applied", "applied"], Polled((), None))
    assert {t.step_slug for t in poll(conn, worker)} <= {"b", "z"}
    assert value(conn, "select fence from pgflow.step_tasks where step_slug = 'b'") <= 1


def test_a_second_settling_in_the_transaction_hands_nothing_over(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    start(conn, "flow")
    start(conn, "flow")
    worker = add_our_worker(conn)
    one, two = poll(conn, worker)
    with conn.transaction():
        assert len(settle_and_go_on(conn, worker, completed(one))[1].tasks) == 1
        settle(conn, worker, completed(two))
    assert len(poll(conn, worker)) == 1


def test_a_claim_whose_worker_never_heard_of_it_comes_back(conn: psycopg.Connection) -> None:
    """The answer was lost: no stall, and the attempt is given back."""
    worker, a = begin(conn, step("b", "a"))
    settle_and_go_on(conn, worker, completed(a))
    assert settle_and_go_on(conn, worker, completed(a)) == (["duplicate"], Polled((), None))
    lapse(conn)
    b = poll_one(conn, add_our_worker(conn))
    assert (b.step_slug, b.fence, b.attempt) == ("b", 2, 1)
