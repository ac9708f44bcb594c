"""The workloads whose costs are guarded: fixed sizes, worked off by one connection in fixed batches.

Not by the real worker, whose batches depend on the moment, but by the calls of its steady state; so that each count
is the same every time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import psycopg

from pgflow import calls
from pgflow.records import Outcome, Task
from tests.sql.engine.work import add_our_worker, completed, failed, run
from tests.sql.flows import create_flow, step

T = TypeVar("T")

_BATCH = 100
#: Seconds; so long that no poll looks for lapsed leases after the first.
_LEASE = 3600


class Counted:
    """One connection that does a client's and a worker's part, and counts its round trips."""

    def __init__(self, conn: psycopg.Connection, slug: str) -> None:
        self.statements = 0
        self._conn = conn
        self._slug = slug
        self._worker = add_our_worker(conn, slug, _LEASE)

    def run(self, call: calls.Call[T]) -> T:
        self.statements += 1
        return run(self._conn, call)

    def start(self, *inputs: object) -> None:
        self.run(calls.start_flows(self._slug, [json.dumps(data).encode() for data in inputs]))

    def finish(
        self, expected: int, handle: Callable[[Task], Outcome], *, only_follow_ups: bool = False
    ) -> tuple[int, int]:
        """Polls, then settles and polls until nothing comes any more: round trips and tasks."""
        done = 0
        tasks = self.run(calls.poll_tasks([self._slug], self._worker, qty=_BATCH, lease=_LEASE)).tasks
        while tasks:
            outcomes = [handle(task) for task in tasks]
            verdicts, polled = self.run(
                calls.settle_and_poll(
                    self._worker, outcomes, [self._slug],
                    qty=_BATCH, lease=_LEASE, only_follow_ups=only_follow_ups,
                )
            )  # fmt: skip
            assert set(verdicts) == {"applied"}
            done += sum(outcome.status == "completed" for outcome in outcomes)
            tasks = polled.tasks
        assert done == expected
        return self.statements, done


def define(conn: psycopg.Connection) -> None:
    """Stores the flows of all workloads; the planner knows of them what autovacuum would tell it a minute later."""
    for slug in ("fan_out", "map_1kb"):
        create_flow(conn, slug, "items", step("element", "items", step_type="map"), step("count", "element"))
    create_flow(conn, "runs", "first", step("second", "first"), step("third", "second"))
    create_flow(conn, "retries", step("element", step_type="map"))
    conn.execute("analyze pgflow.flows, pgflow.steps, pgflow.deps")


def fan_out(conn: psycopg.Connection) -> tuple[int, int]:
    """400 small items, and a count of them: round trips and tasks."""
    return _map(conn, "fan_out", list(range(400)), 1)


def map_1kb(conn: psycopg.Connection) -> tuple[int, int]:
    """200 items of 1 KB, each returned as it came."""
    items = [f"{n:04}" + "abcdefghij" * 100 for n in range(200)]
    return _map(conn, "map_1kb", items, items[0])


def runs(conn: psycopg.Connection) -> tuple[int, int]:
    """100 runs of 3 steps, started together."""
    return _runs(conn, only_follow_ups=False)


def runs_handed_over(conn: psycopg.Connection) -> tuple[int, int]:
    """The same, by a worker who knows that nothing else waits."""
    return _runs(conn, only_follow_ups=True)


def _runs(conn: psycopg.Connection, *, only_follow_ups: bool) -> tuple[int, int]:
    counted = Counted(conn, "runs")
    counted.start(*range(100))
    return counted.finish(300, lambda task: completed(task, 1), only_follow_ups=only_follow_ups)


def retries(conn: psycopg.Connection) -> tuple[int, int]:
    """200 tasks that each fail once."""
    counted = Counted(conn, "retries")
    counted.start(list(range(200)))

    def handle(task: Task) -> Outcome:
        return failed(task, "not yet", retry_in=0) if task.attempt == 1 else completed(task, 1)

    return counted.finish(200, handle)


def _map(conn: psycopg.Connection, slug: str, items: list[object], result: object) -> tuple[int, int]:
    counted = Counted(conn, slug)
    counted.start(None)

    def handle(task: Task) -> Outcome:
        return completed(task, items if task.step_slug == "items" else result)

    return counted.finish(len(items) + 2, handle)


WORKLOADS = {workload.__name__: workload for workload in (fan_out, runs, runs_handed_over, map_1kb, retries)}
