"""Costs: updates of hot rows are HOT, and no path of a worker scans a table that grows."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from pgflow import calls
from tests.sql.engine.work import (
    add_our_worker,
    completed,
    extend,
    failed,
    poll,
    released,
    run,
    settle,
    settle_and_go_on,
)
from tests.sql.flows import create_flow, run_status, start, step
from tests.support import flush_statistics, value

GROWING = ("runs", "step_states", "step_tasks")


@pytest.fixture
def dsn(fresh_dsn: str) -> str:
    """Where nothing was counted before."""
    return fresh_dsn


def statistic(conn: psycopg.Connection, table: str, column: str) -> int:
    """A counter of a table, with all that this connection did before."""
    flush_statistics(conn)
    return int(value(conn, f"select {column} from pg_stat_user_tables where relid = %s::regclass", f"pgflow.{table}"))


def work_off(conn: psycopg.Connection, *slugs: str, qty: int) -> None:
    worker = add_our_worker(conn, lease=60)
    while tasks := poll(conn, worker, *slugs, qty=qty, lease=60):
        settle(conn, worker, *(completed(t, t.task_index) for t in tasks))


@pytest.mark.slow  # not long, but alone: a transaction anywhere on the server keeps old versions from being pruned
@pytest.mark.parametrize("qty", [50, 500])
def test_updates_of_tasks_are_hot(conn: psycopg.Connection, qty: int) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", list(range(500)))
    work_off(conn, qty=qty)
    assert run_status(conn, run_id) == "completed"
    updates = statistic(conn, "step_tasks", "n_tup_upd")
    assert updates >= 1000
    assert statistic(conn, "step_tasks", "n_tup_hot_upd") / updates > 0.9


def load_history(conn: psycopg.Connection, slug: str, run_count: int, tasks: int) -> None:
    """Runs that ended long ago, as they would lie in the tables; analyzed."""
    conn.execute(
        "insert into pgflow.runs (flow_slug, status, input, started_at, completed_at) "
        "select %s, 'completed', '[]', now() - interval '1 day', now() - interval '1 day' from generate_series(1, %s)",
        (slug, run_count),
    )
    conn.execute(
        "insert into pgflow.step_states (flow_slug, run_id, step_slug, status, initial_tasks, remaining_tasks, "
        "created_at, started_at, completed_at) "
        "select flow_slug, run_id, 'm', 'completed', %s, 0, started_at, started_at, completed_at from pgflow.runs r "
        "where not exists (select from pgflow.step_states ss where ss.run_id = r.run_id)",
        (tasks,),
    )
    conn.execute(
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, status, queued_at, started_at, "
        "completed_at, fence, settled_fence, attempts_count) "
        "select flow_slug, run_id, 'm', i, 'completed', started_at, started_at, completed_at, 1, 1, 1 "
        "from pgflow.runs r, generate_series(0, %s - 1) as i "
        "where not exists (select from pgflow.step_tasks t where t.run_id = r.run_id)",
        (tasks,),
    )
    conn.execute("analyze")


def everything_a_worker_does(conn: psycopg.Connection) -> None:
    worker = add_our_worker(conn, lease=60)
    for _ in range(3):
        run(conn, calls.start_flows("flow", [b"[1, 2, 3]"] * 4, keys=[f"k{i}" for i in range(4)]))
        run(conn, calls.start_flows("flow", [b"[1, 2]", b"[]"]))
        tasks = poll(conn, worker, qty=9, lease=60)
        extend(conn, worker, *(t.key for t in tasks), lease=60)
        first, *others = tasks
        settle(conn, worker, released(first), *map(completed, others))
        (again,) = poll(conn, worker, qty=1, lease=60)
        settle(conn, worker, failed(again, retry_in=0))
        run(conn, calls.start_flows("flow", [b"[7]"]))
        settle_and_go_on(conn, worker, *map(completed, poll(conn, worker, lease=60)))
        run(conn, calls.requeue_stalled_tasks())
        run(conn, calls.maintain())
    work_off(conn, qty=5)


def test_no_path_of_a_worker_scans_a_growing_table(conn: psycopg.Connection, dsn: str) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", "m", step_type="map"), step("s", "n"))
    load_history(conn, "flow", run_count=4000, tasks=5)
    before = {table: statistic(conn, table, "seq_scan") for table in GROWING}
    with psycopg.connect(dsn, autocommit=True) as fresh:  # no plan from before the history
        everything_a_worker_does(fresh)
        after = {table: statistic(fresh, table, "seq_scan") for table in GROWING}
    assert after == before


def test_the_plans_of_a_young_database_are_not_kept_to_scan_an_old_one(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", "m", step_type="map"), step("s", "n"))
    everything_a_worker_does(conn)
    load_history(conn, "flow", run_count=4000, tasks=5)
    before = {table: statistic(conn, table, "seq_scan") for table in GROWING}
    everything_a_worker_does(conn)
    assert {table: statistic(conn, table, "seq_scan") for table in GROWING} == before


def test_nobody_reads_the_queue_where_it_was_empty_when_last_analyzed(conn: psycopg.Connection) -> None:
    """As queues often are: until it is analyzed again, the planner finds reading all of it cheap."""

    def read() -> int:
        flush_statistics(conn)
        return int(value(conn, "select sum(idx_tup_read) from pg_stat_user_indexes where relname = 'q_flow'"))

    create_flow(conn, "flow", step("m", step_type="map"))
    start(conn, "flow", list(range(500)))
    work_off(conn, qty=500)
    conn.execute("analyze pgmq.q_flow")
    assert value(conn, "select reltuples from pg_class where oid = 'pgmq.q_flow'::regclass and relpages > 0") == 0
    start(conn, "flow", list(range(4000)))
    worker = add_our_worker(conn, lease=60)
    tasks = poll(conn, worker, qty=30, lease=60)
    acts: dict[str, Callable[[], object]] = {
        "extend": lambda: extend(conn, worker, *(task.key for task in tasks), lease=90),
        "complete": lambda: settle(conn, worker, *map(completed, tasks[:10])),
        "release": lambda: settle(conn, worker, *map(released, tasks[10:20])),
        "retry": lambda: settle(conn, worker, *(failed(task, retry_in=0) for task in tasks[20:])),
        "delay": lambda: conn.execute(
            "select pgflow.set_vt_batch('flow', %s, %s)", ([t.msg_id for t in tasks], [60] * len(tasks))
        ),
        "poll": lambda: poll(conn, worker, qty=30, lease=60),
    }
    costs = {}
    for name, act in acts.items():
        before = read()
        act()
        costs[name] = read() - before
    assert {name: cost for name, cost in costs.items() if cost > 2000} == {}  # dead entries are read, too
