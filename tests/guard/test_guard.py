"""No task costs more than docs/explanation/performance.md allows: counts, not times.

`make guard` (PGFLOW_WRITE_COSTS=1) writes what is counted into the page instead.
"""

from __future__ import annotations

import os

import psycopg
import pytest

from tests.guard.costs import PAGE, Costs, Meter, allowed, keep_still, rewritten
from tests.guard.workloads import WORKLOADS, define


@pytest.fixture
def dsn(fresh_dsn: str) -> str:
    """Nobody's rows were here: statistics of a table that was just emptied make plans that read all of it."""
    return fresh_dsn


@pytest.fixture
def meter(conn: psycopg.Connection) -> Meter:
    define(conn)
    keep_still(conn)
    try:
        return Meter(conn)
    except psycopg.errors.UndefinedFile:
        pytest.skip("this server has no auto_explain")


@pytest.fixture
def limits(conn: psycopg.Connection) -> dict[str, Costs]:
    version = _major(conn)
    return allowed(PAGE.read_text(), version) or pytest.skip(f"{PAGE.name} says nothing about PostgreSQL {version}")


def _major(conn: psycopg.Connection) -> int:
    return conn.info.server_version // 10000


@pytest.mark.skipif("PGFLOW_WRITE_COSTS" not in os.environ, reason="`make guard` writes the table")
def test_write_the_table(conn: psycopg.Connection, meter: Meter) -> None:
    counted = {name: meter.count(workload) for name, workload in WORKLOADS.items()}
    PAGE.write_text(rewritten(PAGE.read_text(), _major(conn), counted))


@pytest.mark.slow  # not long, but alone: another's transaction keeps old versions from being pruned, which costs pages
def test_no_task_costs_more_than_it_may(conn: psycopg.Connection, limits: dict[str, Costs], meter: Meter) -> None:
    for name, workload in WORKLOADS.items():
        counted = meter.count(workload)
        if conn.execute("show full_page_writes").fetchone() == ("on",):
            counted = counted._replace(wal_bytes=0)  # whole pages go to the log whenever a checkpoint was near
        excess = counted.excess(limits[name])
        assert not excess, f"{name}: {', '.join(excess)}: see {PAGE.name}, 'What a task may cost'"


@pytest.mark.slow  # alone, for the same reason
def test_an_index_too_many_is_noticed(conn: psycopg.Connection, limits: dict[str, Costs], meter: Meter) -> None:
    conn.execute("create index on pgflow.step_tasks (status)")
    excess = meter.count(WORKLOADS["retries"], times=1).excess(limits["retries"])
    assert [line.split()[0] for line in excess] == ["buffers", "wal_bytes"]


def test_what_differs_by_nature_may_differ_a_little() -> None:
    limit = Costs(statements=0.5, rows=7, buffers=100, wal_bytes=1000)
    assert limit._replace(buffers=109, wal_bytes=1099, rows=6).excess(limit) == []
    assert limit._replace(buffers=111, wal_bytes=1101).excess(limit) == [
        "buffers 111 instead of 100",
        "wal_bytes 1101 instead of 1000",
    ]
    assert limit._replace(statements=0.51, rows=7.01).excess(limit) == [
        "statements 0.51 instead of 0.5",
        "rows 7.01 instead of 7",
    ]


def test_the_table_is_rewritten_for_one_version_only() -> None:
    head = "text\n\n| workload | PostgreSQL |\n|---|---:|\n"
    page = f"{head}| runs | 15 | 1 | 2 | 3 | 4 |\n| runs | 18 | 1 | 2 | 3 | 4 |\n\nmore\n"
    after = rewritten(page, 18, {"fan_out": Costs(5, 6, 7, 8), "runs": Costs(0.123456, 6, 7, 123456)})
    lines = "| fan_out | 18 | 5 | 6 | 7 | 8 |\n| runs | 15 | 1 | 2 | 3 | 4 |\n| runs | 18 | 0.1235 | 6 | 7 | 123500 |\n"
    assert after == f"{head}{lines}\nmore\n"
    assert allowed(after, 15) == {"runs": Costs(1, 2, 3, 4)}
