"""No statement on a worker's path reads the history: plans with many finished tasks in the tables.

auto_explain shows the plan of every statement inside a function. The embedded build lacks it, so these run on
servers that have it (`make test-pg15`). PGFLOW_TEST_HISTORY sets how many finished tasks there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args
from uuid import uuid4

import psycopg
import pytest

from pgflow import calls
from pgflow.calls import Call
from pgflow.records import Outcome, RunStatus, Task
from tests.sql.plans.explained import Explained
from tests.support import flush_statistics, value

HISTORY = int(os.environ.get("PGFLOW_TEST_HISTORY", "200000"))
QUEUED = max(HISTORY // 50, 10_000)
BATCH = 100
#: 8 kB pages that one task may touch in poll and settle together: indexes are three or four pages deep, a claim and
#: a settlement each touch the queue, its archive and the task, with their indexes.
PAGES_PER_TASK = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # slow: alone, as in test_growth.py

FINISHED_RUNS = """
with made as (
  insert into pgflow.runs (flow_slug, status, input, output, started_at, completed_at)
  select 'busy', 'completed', '[]', '{}', now() - n * interval '1 s', now() from generate_series(1, %(runs)s) as n
  returning run_id
), states as (
  insert into pgflow.step_states (flow_slug, run_id, step_slug, status, initial_tasks, remaining_tasks, completed_at)
  select 'busy', m.run_id, 'work', 'completed', %(tasks)s, 0, now() from made m
)
select array_agg(run_id) from made
"""
FINISHED_TASKS = """
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id, task_index, status, attempts_count, output,
                               started_at, completed_at, fence, settled_fence)
select 'busy', r, 'work', -1, i, 'completed', 1, '{"done": true}', now(), now(), 1, 1
  from unnest(%(run_ids)s::uuid[]) as r, generate_series(0, %(tasks)s - 1) as i
"""


@pytest.fixture
def explained(conn: psycopg.Connection, explain: Callable[[], Explained]) -> Explained:
    skipped_without = explain()
    _fill(conn)
    return skipped_without


def _fill(connection: psycopg.Connection) -> None:
    """Finished runs, large and small, and one large map that waits."""
    connection.execute("select pgflow.create_flow('busy')")
    connection.execute("select pgflow.add_step('busy', 'work', step_type => 'map')")
    for tasks, share in ((10_000, 0.5), (20, 0.5)):
        runs = int(HISTORY * share / tasks)
        made = connection.execute(FINISHED_RUNS, {"runs": runs, "tasks": tasks}).fetchone()
        connection.execute(FINISHED_TASKS, {"run_ids": made[0], "tasks": tasks})
    connection.execute("vacuum analyze")
    connection.execute(
        "select pgflow.start_flow('busy', (select jsonb_agg(i) from generate_series(1, %s) i))", [QUEUED]
    )
    connection.execute("analyze")


def test_working_reads_the_batch_and_not_the_history(explained):
    worker_id = uuid4()
    explained.run(calls.register_worker(worker_id, "busy", "test", lease=15))
    first = explained.run(calls.poll_tasks(["busy"], worker_id, qty=1, lease=15)).tasks  # reads catalogs, too
    explained.run(calls.extend_leases(worker_id, [t.key for t in first], lease=15))
    explained.run(calls.settle_tasks(worker_id, [_outcome(2, t) for t in first]))
    for _ in range(12):  # so many that plans without their arguments are taken, too
        tasks = _checked(explained, calls.poll_tasks(["busy"], worker_id, qty=BATCH, lease=15)).tasks
        assert len(tasks) == BATCH
        polled = explained.pages
        assert _checked(explained, calls.extend_leases(worker_id, [t.key for t in tasks], lease=15)) == []
        extended = explained.pages
        verdicts = _checked(explained, calls.settle_tasks(worker_id, [_outcome(n, t) for n, t in enumerate(tasks)]))
        assert verdicts == ["applied"] * BATCH
        print("pages per task: poll, extend, settle:", *(p / BATCH for p in (polled, extended, explained.pages)))
        assert polled + extended + explained.pages < PAGES_PER_TASK * BATCH
    hot = hot_ratio(explained.connection)
    print("HOT updates of step_tasks:", hot)
    assert hot > 0.9


def hot_ratio(conn: psycopg.Connection) -> float:
    flush_statistics(conn)
    sql = "select n_tup_hot_upd::float / n_tup_upd from pg_stat_user_tables where relid = 'pgflow.step_tasks'::regclass"
    return float(value(conn, sql))


def _outcome(number: int, task: Task) -> Outcome:
    if number % 10 == 0:
        return Outcome.released(task.key)
    if number % 10 == 1:
        return Outcome.failed(task.key, "once more", retry_in=3600)
    return Outcome.completed(task.key, b'{"done": true}')


def _checked(explained: Explained, call: Call[Any]) -> Any:
    result = explained.run(call)
    assert explained.sequential_scans() == []
    assert explained.large_nodes(4 * BATCH) == []
    return result


@pytest.mark.parametrize(
    "call",
    [
        calls.maintain(),
        calls.start_flows("busy", [b"[1, 2, 3]"] * 3),
        calls.unfinished_runs("busy"),
    ],
    ids=["fail_stalled_tasks", "start_flows", "unfinished_runs"],
)
def test_other_calls_do_not_read_the_history_either(explained, call):
    for _ in range(7):
        explained.run(call)
    assert explained.sequential_scans() == []
    assert explained.large_nodes(4 * BATCH) == []


@pytest.mark.parametrize("flow", ["busy", None])
@pytest.mark.parametrize("status", [None, *get_args(RunStatus)])
def test_a_page_of_runs_does_not_read_the_others(explained, flow, status):
    (run,) = explained.run(calls.start_flows("busy", [b"[1]"]))
    explained.run(calls.cancel_run(run.run_id, "no use"))
    for before in (None, run):
        for _ in range(7):
            explained.run(calls.list_runs(flow, status, 20, before))
    assert explained.sequential_scans() == []
    assert explained.large_nodes(4 * BATCH) == []


def test_run_control_reads_one_run_and_not_the_history(explained):
    (run,) = explained.run(calls.start_flows("busy", [b"[1, 2, 3]"]))
    for _ in range(4):
        _checked(explained, calls.cancel_run(run.run_id, "no use"))
        _checked(explained, calls.retry_run(run.run_id))
        _checked(explained, calls.rerun(run.run_id, "work"))


def test_the_contracts_functions_read_one_task_and_not_the_history(explained):
    worker_id = value(
        explained.connection, "insert into pgflow.workers values (gen_random_uuid(), 'q', 'f') returning 1"
    )
    worker_id = value(explained.connection, "select worker_id from pgflow.workers")
    for n in range(8):
        msg_id, run_id, step, index = _read_one(explained.connection)
        for sql in (
            f"select from pgflow.start_tasks('busy', array[{msg_id}]::bigint[], '{worker_id}')",
            f"select from pgflow.fail_task('{run_id}', '{step}', {index}, 'no')"
            if n % 2
            else f"select from pgflow.complete_task('{run_id}', '{step}', {index}, '1')",
        ):
            explained.run(Call(sql, (), list))
            assert explained.sequential_scans() == []
            assert explained.large_nodes(BATCH) == []


def _read_one(connection: psycopg.Connection) -> tuple[Any, ...]:
    row = connection.execute(
        "select msg_id, message->>'run_id', message->>'step_slug', message->>'task_index' from pgmq.read('busy', 60, 1)"
    ).fetchone()
    assert row is not None
    return row
