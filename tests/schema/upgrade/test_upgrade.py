"""A database that an older version made and left with runs in flight."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from pgflow import AsyncClient, Worker, calls, schema
from pgflow.records import Outcome, TaskKey
from tests.schema.catalog import objects
from tests.schema.upgrade.in_flight import orders, run_id
from tests.schema.upgrade.restore import DUMPS, restore
from tests.sql.engine.work import run
from tests.sql.flows import Row, complete, run_row, task_row
from tests.support import rows
from tests.testing.real import INVARIANTS

_TOTAL = {"total": "60, as it is"}

_TABLES = ("pgflow.flows", "pgflow.steps", "pgflow.deps", "pgflow.runs", "pgflow.step_states", "pgflow.step_tasks",
           "pgflow.workers", "pgmq.q_orders", "pgmq.a_orders")  # fmt: skip
#: Rows of what had ended, by what they are.
_ENDED = """
select 'run', run_id::text, to_jsonb(r) from pgflow.runs r where status <> 'started'
union all
select 'step', s.run_id || s.step_slug, to_jsonb(s) from pgflow.step_states s join pgflow.runs r using (run_id)
 where s.status in ('completed', 'skipped', 'failed') or r.status <> 'started'
union all
select 'task', t.run_id || t.step_slug || t.task_index, to_jsonb(t)
  from pgflow.step_tasks t join pgflow.runs r using (run_id) where t.status = 'completed' or r.status <> 'started'
union all
select 'message', msg_id::text, to_jsonb(m) from pgmq.a_orders m
"""


@pytest.fixture(params=DUMPS, ids=lambda dump: dump.stem)
def old_dsn(request: pytest.FixtureRequest, empty_dsn: str) -> str:
    """A database as that version left it a moment ago."""
    restore(empty_dsn, request.param)
    return empty_dsn


@pytest.fixture
def old(old_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to it, in autocommit."""
    with psycopg.connect(old_dsn, autocommit=True) as connection:
        yield connection


def test_an_upgraded_database_has_the_schema_of_a_fresh_one(old_dsn: str, installed_dsn: str) -> None:
    schema.migrate(old_dsn)
    assert objects(old_dsn, "pgflow") == objects(installed_dsn, "pgflow")
    with psycopg.connect(old_dsn) as upgraded, psycopg.connect(installed_dsn) as fresh:
        migrations, functions = "table pgflow.schema_migrations", "table pgflow.schema_functions"
        assert {row[:2] for row in rows(upgraded, migrations)} == {row[:2] for row in rows(fresh, migrations)}
        # what a migration dropped stays noted
        assert {row[:2] for row in rows(upgraded, functions)} >= {row[:2] for row in rows(fresh, functions)}
    assert schema.migrate(old_dsn) == []


def test_an_upgrade_leaves_runs_as_they_are(old: psycopg.Connection, old_dsn: str) -> None:
    before = {table: _rows(old, table) for table in _TABLES}
    schema.migrate(old_dsn)
    for table, then in before.items():
        now = _rows(old, table)
        assert len(now) == len(then)
        assert [row for row in then if not any(row.items() <= found.items() for found in now)] == []


async def test_runs_in_flight_go_on_to_their_end(old: psycopg.Connection, old_dsn: str) -> None:
    ended = _ended(old)
    assert {kind for kind, _ in ended} == {"run", "step", "task", "message"}
    schema.migrate(old_dsn)

    # Workers that ran across the upgrade hand in what they have.
    assert run(old, calls.settle_tasks(*_held(old, "held", b"[0, 1, 2, 3]"))) == ["applied"]
    complete(old, run_id("by contract"), "items", [0, 1, 2, 3])

    async with AsyncClient(old_dsn) as client, Worker([orders], dsn=old_dsn, lease=2, grace=1, poll_interval=0.5):
        for case in ("queued", "leased", "held", "by contract", "retrying", "half"):
            found = await client.wait(run_id(case), timeout=100)
            assert (case, found.status, found.output) == (case, "completed", _TOTAL)
        given_up = await client.wait(run_id("given up"), timeout=100)
        assert (given_up.status, given_up.error) == ("failed", "Task stalled 3 times")

        now = _ended(old)
        for key, row in ended.items():
            assert row.items() <= now[key].items()
        assert task_row(old, run_id("leased"), "items")["fence"] == 2  # the lapsed claim, and the one after
        assert task_row(old, run_id("retrying"), "items")["attempts_count"] == 2
        assert [task_row(old, run_id("half"), "price", n)["fence"] for n in range(4)] == [1, 1, 2, 1]
        assert run_row(old, run_id("delayed"))["status"] == "started"
        assert task_row(old, run_id("delayed"), "items")["fence"] == 0

        for case in ("failed", "cancelled", "given up"):
            await client.retry(run_id(case))
            found = await client.wait(run_id(case), timeout=100)
            assert (case, found.status, found.output) == (case, "completed", _TOTAL)

    assert [what for what, sql in INVARIANTS.items() if rows(old, sql.format(slug="orders")) != [(0,)]] == []


def _held(conn: psycopg.Connection, case: str, output: bytes) -> tuple[UUID, list[Outcome]]:
    """Who holds the run's first task, and what they have to say of it."""
    row = task_row(conn, run_id(case), "items")
    key = TaskKey(run_id(case), "items", 0, row["fence"])
    return row["last_worker_id"], [Outcome.completed(key, output)]


def _ended(conn: psycopg.Connection) -> dict[tuple[str, str], Row]:
    return {(kind, key): row for kind, key, row in rows(conn, _ENDED)}


def _rows(conn: psycopg.Connection, table: str) -> list[Row]:
    return [row for (row,) in rows(conn, f"select to_jsonb(t) from {table} t")]
