"""The oracle of the chaos suite finds what it is there to find."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest

from pgflow import AsyncClient, Worker
from tests.faults.chaos.driver import prepare
from tests.faults.chaos.flows import FLOWS, orders
from tests.faults.chaos.ledger import ledger
from tests.faults.chaos.oracle import Oracle


@pytest.fixture
async def finished(
    dsn: str, empty_dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[psycopg.Connection, psycopg.Connection, list[UUID]]]:
    """A database and a ledger in which all is well: some runs have ended."""
    monkeypatch.setenv("CHAOS_LEDGER", empty_dsn)
    prepare(dsn, empty_dsn)
    rng = random.Random(1)
    async with Worker(list(FLOWS.values()), dsn=dsn), AsyncClient(dsn) as client:
        runs = [await client.start("bank", orders(rng)) for _ in range(3)]
        runs += [await client.start(slug, {"go": True}) for slug in FLOWS if slug != "bank"]
        for run in runs:
            await client.wait(run, timeout=60)
    with psycopg.connect(empty_dsn, autocommit=True) as notes:
        yield conn, notes, [run.run_id for run in runs]
    ledger().close()


#: In the database or the ledger, what is done to it, and how the oracle puts it.
TAMPERING = [
    ("database", "update accounts set cents = cents + 1 where id = 0", "the bank does not balance: {0: 1}"),
    ("database", "insert into transfers select * from transfers limit 1", "were made that did not complete, or twice"),
    ("database", "delete from transfers where ctid = (select min(ctid) from transfers)", "were not made"),
    ("database", "insert into accepted select * from accepted limit 1", "2 results were accepted"),
    ("database", "delete from accepted where ctid = (select min(ctid) from accepted)", "1 results came from nowhere"),
    ("database", "update accepted set output = '7'", "the accepted result is not the task's"),
    ("database", "update pgflow.runs set status = 'started', completed_at = null where flow_slug = 'bank'", "3 runs"),
    (
        "database",
        "update pgflow.runs set remaining_steps = 9 where flow_slug = 'bank'",
        "a run's remaining_steps",
    ),
    ("ledger", "delete from ledger", "of no attempt that the ledger knows"),
    ("ledger", "update ledger set fails = true", "of no attempt that the ledger knows"),
    ("ledger", "update ledger set task_index = task_index + 1", "of no attempt that the ledger knows"),
]


@pytest.mark.slow
async def test_it_finds_what_is_wrong_and_nothing_else(
    finished: tuple[psycopg.Connection, psycopg.Connection, list[UUID]],
) -> None:
    database, notes, runs = finished
    assert Oracle(database, notes, runs).faults() == []
    for where, statement, fault in TAMPERING:
        connection = notes if where == "ledger" else database
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
            assert any(fault in found for found in Oracle(database, notes, runs).faults()), statement
    assert "have not ended or are gone" in Oracle(database, notes, [*runs, UUID(int=1)]).faults()[0]
