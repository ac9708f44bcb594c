"""Everything at once: eight connections poll, settle, fail, extend, complete, requeue; no deadlock, no lost update.

PGFLOW_TEST_RACE_SECONDS makes it longer.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Outcome, Task, Verdict
from tests.sql.engine.work import add_our_worker, completed, extend, fail_stalled, failed, poll, released, run, settle
from tests.sql.flows import add_worker, complete, create_flow, fail, start_tasks, step
from tests.support import eventually, rows, value

SECONDS = float(os.environ.get("PGFLOW_TEST_RACE_SECONDS", "5"))
THREADS = 8


class Chaos:
    """One thread's worker, which does at random what workers of any kind do."""

    def __init__(self, dsn: str, seed: int) -> None:
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.random = random.Random(seed)
        self.worker = add_our_worker(self.conn, lease=1)
        self.held: list[Task] = []
        self.applied: list[tuple[Outcome, Verdict]] = []
        self.claims: Counter[tuple[uuid.UUID, str, int]] = Counter()
        self.done: Counter[str] = Counter()
        self.error: BaseException | None = None
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def actions(self) -> dict[Callable[[], None], int]:
        """What it may do, and how often in proportion."""
        return {
            self.poll: 30,
            self.settle: 40,
            self.settle_and_poll: 10,
            self.extend: 8,
            self.start_foreign: 8,
            self.close_foreign: 15,
            self.let_one_stall: 3,
            self.requeue: 3,
            self.fail_stalled: 3,
            self.start: 1,
        }

    def work(self) -> None:
        actions = self.actions()
        try:
            while not self.enough.is_set():
                (action,) = self.random.choices([*actions], [*actions.values()])
                action()
                self.done[action.__name__] += 1  # type: ignore[attr-defined]
        except BaseException as error:
            self.error = error

    def poll(self) -> None:
        tasks = poll(self.conn, self.worker, "one", "two", qty=self.random.randint(1, 15), lease=1)
        self.claims.update((t.run_id, t.step_slug, t.task_index) for t in tasks)
        self.held += tasks

    def settle(self) -> None:
        chosen = self.chosen()
        self.applied += zip(chosen, settle(self.conn, self.worker, *chosen), strict=True)

    def settle_and_poll(self) -> None:
        chosen = self.chosen()
        verdicts, polled = run(
            self.conn,
            calls.settle_and_poll(
                self.worker, chosen, ["one", "two"],
                qty=self.random.randint(1, 15), lease=1, only_follow_ups=self.random.random() < 0.5,
            ),
        )  # fmt: skip
        self.applied += zip(chosen, verdicts, strict=True)
        self.claims.update((t.run_id, t.step_slug, t.task_index) for t in polled.tasks)
        self.held += polled.tasks

    def chosen(self) -> list[Outcome]:
        """Outcomes of some tasks that it holds, now and then one of them twice."""
        self.random.shuffle(self.held)
        outcomes = [self.outcome(self.held.pop()) for _ in range(min(len(self.held), self.random.randint(1, 15)))]
        return outcomes + outcomes[:1] if self.random.random() < 0.1 else outcomes

    def outcome(self, task: Task) -> Outcome:
        roll = self.random.random()
        if roll < 0.7:
            return completed(task, [str(uuid.uuid4())])
        if roll < 0.85:
            return released(task)
        return failed(task, retry_in=0, permanent=roll > 0.999)

    def extend(self) -> None:
        keys = [t.key for t in self.held]
        lost = extend(self.conn, self.worker, *keys, lease=1)
        assert set(lost) <= set(keys)

    def start_foreign(self) -> None:
        slug = self.random.choice(["one", "two"])
        read = [m for (m,) in rows(self.conn, "select msg_id from pgmq.read(%s, 1, %s)", slug, 3)]
        started = start_tasks(self.conn, slug, read, add_worker(self.conn, slug))
        self.claims.update((t.run_id, t.step_slug, t.task_index) for t in started)

    def close_foreign(self) -> None:
        for run_id, slug, index in self.some_started():
            if self.random.random() < 0.6:
                complete(self.conn, run_id, slug, ["foreign"], index)
            else:
                fail(self.conn, run_id, slug, "foreign", index)

    def some_started(self) -> list[tuple[Any, ...]]:
        return rows(
            self.conn,
            "select run_id, step_slug, task_index from pgflow.step_tasks where status = 'started' "
            "order by random() limit 1",
        )

    def let_one_stall(self) -> None:
        for key in self.some_started():
            self.conn.execute(
                "update pgflow.step_tasks set queued_at = queued_at - interval '1 hour', leased_until = null, "
                "started_at = started_at - interval '1 hour', requeued_count = requeued_count + %s "
                "where (run_id, step_slug, task_index) = (%s, %s, %s) and status = 'started'",
                (self.random.choice([0, 3]), *key),
            )

    def requeue(self) -> None:
        run(self.conn, calls.requeue_stalled_tasks())

    def fail_stalled(self) -> None:
        fail_stalled(self.conn)

    def start(self) -> None:
        start_some(self.conn, self.random.choice(["one", "two"]))


@contextmanager
def at_work(workers: Sequence[Chaos]) -> Iterator[None]:
    """They work at once for as long as the block lasts, and none of them may fail."""
    for worker in workers:
        worker.thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.enough.set()
        for worker in workers:
            worker.thread.join(60)
            worker.conn.close()
    for worker in workers:
        assert not worker.thread.is_alive()
        assert worker.error is None, worker.error


def start_some(conn: psycopg.Connection, slug: str) -> None:
    run(conn, calls.start_flows(slug, [b"[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"] * 2))


def create_flows(conn: psycopg.Connection) -> None:
    options = {"max_attempts": 20, "base_delay": 0}
    create_flow(
        conn,
        "one",
        step("m", step_type="map"),
        step("a", when_exhausted="skip"),
        step("n", "m", step_type="map", when_exhausted="skip-cascade"),
        step("b", "a", "n"),
        step("c", "a"),
        **options,
    )
    create_flow(
        conn, "two", step("m", step_type="map", when_exhausted="skip"), step("s", "m"), step("t", "s"), **options
    )
    for slug in ("one", "two"):
        for _ in range(3):
            start_some(conn, slug)


INVARIANTS = {
    "a step counts down by its completed tasks": """
        select ss.run_id, ss.step_slug, ss.remaining_tasks, count(*) filter (where t.status <> 'completed')
          from pgflow.step_states ss join pgflow.step_tasks t using (run_id, step_slug)
         where ss.status in ('started', 'completed')
         group by ss.run_id, ss.step_slug
        having ss.remaining_tasks <> count(*) filter (where t.status <> 'completed')""",
    "a started step has all its tasks": """
        select ss.run_id, ss.step_slug, ss.initial_tasks, count(t.*)
          from pgflow.step_states ss left join pgflow.step_tasks t using (run_id, step_slug)
         where ss.status in ('started', 'completed')
         group by ss.run_id, ss.step_slug having ss.initial_tasks <> count(t.*)""",
    "a run counts down by its ended steps": """
        select r.run_id, r.remaining_steps, r.status, array_agg(ss.status)
          from pgflow.runs r join pgflow.step_states ss using (run_id)
         group by r.run_id
        having r.status <> 'failed'
           and r.remaining_steps <> count(*) filter (where ss.status in ('created', 'started'))""",
    "a run with nothing left has ended": """
        select run_id from pgflow.runs where (status = 'completed') <> (remaining_steps = 0) and status <> 'failed'""",
    "a step waits for its open dependencies": """
        select ss.run_id, ss.step_slug, ss.remaining_deps
          from pgflow.step_states ss
          join pgflow.runs r using (run_id)
          left join pgflow.deps d on d.flow_slug = ss.flow_slug and d.step_slug = ss.step_slug
          left join pgflow.step_states up on up.run_id = ss.run_id and up.step_slug = d.dep_slug
         where ss.status = 'created' and r.status = 'started'
         group by ss.run_id, ss.step_slug
        having ss.remaining_deps <> count(*) filter (where up.status in ('created', 'started'))""",
    "a map's output has an element per task, in order": """
        select ss.run_id, ss.step_slug
          from pgflow.step_states ss join pgflow.step_tasks t using (run_id, step_slug)
          join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
         where ss.status = 'completed' and s.step_type = 'map'
           and ss.output -> t.task_index is distinct from t.output""",
    "an open task has its message, and nothing else has one": """
        select w.*, m.msg_id
          from (select t.message_id, t.run_id, t.step_slug, t.task_index, t.status from pgflow.step_tasks t
                  join pgflow.step_states ss using (run_id, step_slug) join pgflow.runs r using (run_id)
                 where r.status = 'started' and ss.status = 'started' and t.status in ('queued', 'started')
                   and t.permanently_stalled_at is null and t.flow_slug = '{slug}') w
          full join pgmq.q_{slug} m on m.msg_id = w.message_id
         where m.msg_id is null or w.message_id is null""",
    "a queued task was not given up": """
        select run_id, step_slug, task_index from pgflow.step_tasks
         where status = 'queued' and permanently_stalled_at is not null""",
    "no fence settled before it was claimed": """
        select run_id, step_slug, task_index from pgflow.step_tasks where settled_fence > fence""",
    "what is not started has no lease": """
        select run_id, step_slug, task_index, status from pgflow.step_tasks
         where status <> 'started' and leased_until is not null""",
}


def check_invariants(conn: psycopg.Connection) -> None:
    for name, sql in INVARIANTS.items():
        for slug in ("one", "two"):
            assert rows(conn, sql.replace("{slug}", slug)) == [], name


@pytest.mark.slow
def test_everything_at_once(conn: psycopg.Connection, dsn: str) -> None:
    create_flows(conn)
    workers = [Chaos(dsn, seed) for seed in range(THREADS)]
    with at_work(workers):
        time.sleep(SECONDS)
    check_invariants(conn)

    done = sum((w.done for w in workers), Counter())
    assert set(done) >= {"poll", "settle", "settle_and_poll", "extend", "close_foreign", "requeue", "fail_stalled"}
    claims = sum((w.claims for w in workers), Counter())
    fences = {
        (r, s, i): f for r, s, i, f in rows(conn, "select run_id, step_slug, task_index, fence from pgflow.step_tasks")
    }
    assert {key: fence for key, fence in fences.items() if fence} == claims

    check_outputs(conn, workers)
    assert value(conn, "select exists (select from pgflow.step_tasks where error_message ~ '^Task stalled')")
    finish(conn)
    check_invariants(conn)


def check_outputs(conn: psycopg.Connection, workers: list[Chaos]) -> None:
    """Whatever was stored was told to be applied, and the other way round."""
    ours = {
        (o.key.run_id, o.key.step_slug, o.key.task_index): o.output
        for w in workers
        for o, verdict in w.applied
        if o.status == "completed" and verdict == "applied"
    }
    stored = rows(
        conn,
        "select run_id, step_slug, task_index, output::text from pgflow.step_tasks "
        "where status = 'completed' and output <> '[\"foreign\"]'",
    )
    assert {(r, s, i): text.encode() for r, s, i, text in stored} == ours


def finish(conn: psycopg.Connection) -> None:
    """A last worker brings every run to its end, whatever state it was left in."""
    worker = add_our_worker(conn)
    conn.execute(
        "update pgflow.step_tasks set started_at = queued_at - interval '1 hour', "
        "queued_at = queued_at - interval '1 hour' where status = 'started' and leased_until is null"
    )

    def all_ended() -> bool:
        run(conn, calls.requeue_stalled_tasks())
        fail_stalled(conn)
        settle(conn, worker, *(completed(t, []) for t in poll(conn, worker, "one", "two")))
        return bool(value(conn, "select not exists (select from pgflow.runs where status = 'started')"))

    eventually(all_ended, within=30)
