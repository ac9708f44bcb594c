"""Starting once per key, later, and many at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import BaseModel

from pgflow import Client, Flow, Worker
from pgflow.calls import Call
from pgflow.db import Database
from pgflow.errors import InvalidInputError
from tests.client.conftest import Ask
from tests.client.test_client import double, mapping
from tests.support import rows, value


class Order(BaseModel):
    item: str


async def test_the_same_key_gives_the_same_run_whatever_the_input(ask: Ask, conn: psycopg.Connection) -> None:
    first = await ask("start", double(), 1, key="order-1")
    assert (first.key, first.input) == ("order-1", 1)
    assert await ask("start", "double", 2, key="order-1", delay=60) == first
    assert (await ask("get_run", first)).key == "order-1"
    assert (await ask("start", double(), 1, key="order-2")).run_id != first.run_id
    assert (await ask("start", mapping(), [], key="order-1")).run_id != first.run_id
    assert (await ask("start", double(), 1)).key is None
    assert value(conn, "select count(*) from pgflow.runs") == 4


async def test_a_key_still_names_its_run_when_that_has_ended_and_not_when_it_is_gone(
    ask: Ask, dsn: str, conn: psycopg.Connection
) -> None:
    async with Worker([double()], dsn=dsn):
        done = await ask("wait", await ask("start", double(), 1, key="k"), timeout=30)
    again = await ask("start", double(), 1, key="k")
    assert (again.run_id, again.status, again.output) == (done.run_id, "completed", {"twice": 2})
    conn.execute("update pgflow.runs set started_at = '-infinity', completed_at = '2000-01-01'")
    conn.execute("select pgflow.prune_data_older_than('1 day')")
    assert (await ask("start", double(), 1, key="k")).run_id != done.run_id


async def test_many_start_by_their_keys(ask: Ask, conn: psycopg.Connection) -> None:
    first = await ask("start", double(), 0, key="a")
    runs = await ask("start_many", double(), [1, 2, 3, 4], keys=["b", "a", None, "b"])
    assert [run.key for run in runs] == ["b", "a", None, "b"]
    assert runs[1] == first
    assert runs[3] == runs[0]
    assert value(conn, "select count(*) from pgflow.runs") == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": "ab"}, "pass a list of inputs, one per run, not 'ab'"),
        ({"inputs": b"ab"}, "pass a list of inputs, one per run"),
        ({"inputs": {"a": 1}}, "pass a list of inputs, one per run, not {'a': 1}"),
        ({"inputs": Order(item="cup")}, "pass a list of inputs, one per run, not Order"),
        ({"inputs": 5}, "pass a list of inputs, one per run, not 5"),
        ({"inputs": [1, 2], "keys": "ab"}, "pass a list of keys, one per run, not 'ab'"),
        ({"inputs": [1, 2], "keys": ["a"]}, "keys must be as many as inputs: 1 for 2"),
        ({"inputs": [1], "run_ids": [uuid4(), uuid4()]}, "run_ids must be as many as inputs: 2 for 1"),
        ({"inputs": [1], "flow": None}, "expected a pgflow.Flow, or the slug of a stored one, not None"),
    ],
)
async def test_what_is_no_list_with_one_per_run_starts_none(
    ask: Ask, conn: psycopg.Connection, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        await ask("start_many", **{"flow": double(), **given})
    assert value(conn, "select count(*) from pgflow.flows") == 0


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 501, "\ud800", 5, b"k"])
async def test_what_is_no_key_is_refused(ask: Ask, conn: psycopg.Connection, key: Any) -> None:
    with pytest.raises(InvalidInputError, match="key must be a text of 1 to 500 printable characters"):
        await ask("start", double(), 1, key=key)
    with pytest.raises(InvalidInputError, match="key must be a text"):
        await ask("start_many", double(), [1, 2], keys=["fine", key])
    assert value(conn, "select count(*) from pgflow.flows") == 0


async def test_the_longest_key_of_the_widest_characters_fits(ask: Ask) -> None:
    key = "".join(chr(0x1F300 + n) for n in range(500))
    assert (await ask("start", double(), 1, key=key)).key == key


def due_in(conn: psycopg.Connection) -> float:
    """Seconds until the only message there is can be read."""
    return float(value(conn, "select extract(epoch from vt - clock_timestamp()) from pgmq.q_double"))


@pytest.mark.parametrize("delay", [3600, 3600.5, timedelta(hours=1)])
async def test_a_delay_counts_from_the_databases_now(ask: Ask, conn: psycopg.Connection, delay: Any) -> None:
    run = await ask("start", double(), 1, delay=delay)
    assert run.status == "started"
    assert 3000 < due_in(conn) <= 3601


async def test_a_run_may_start_at_a_time_of_any_zone(ask: Ask, conn: psycopg.Connection) -> None:
    at = datetime.now(timezone(timedelta(hours=-5))) + timedelta(hours=2)
    await ask("start_many", double(), [1], at=at)
    assert value(conn, "select start_at from pgflow.runs") == at
    assert 6600 < due_in(conn) <= 7200


async def test_a_time_that_has_passed_is_now(ask: Ask, dsn: str) -> None:
    async with Worker([double()], dsn=dsn):
        run = await ask("start", double(), 2, at=datetime(2020, 1, 1, tzinfo=UTC))
        assert (await ask("wait", run, timeout=30)).output == {"twice": 4}
        run = await ask("start", double(), 3, delay=0.2)
        assert (await ask("wait", run, timeout=30)).output == {"twice": 6}


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"at": datetime(2030, 1, 1)}, "at must be a datetime with a time zone"),  # noqa: DTZ001
        ({"at": "2030-01-01"}, "at must be a datetime with a time zone"),
        ({"delay": -1}, "delay must be a number of seconds or a timedelta, from 0 to 1,000,000,000 s, not -1"),
        ({"delay": float("nan")}, "delay must be"),
        ({"delay": 1e20}, "delay must be"),
        ({"delay": timedelta.max}, "delay must be"),
        ({"delay": float("inf")}, "delay must be"),
        ({"delay": "5"}, "delay must be"),
        ({"delay": True}, "delay must be"),
        ({"delay": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)}, "give at= or delay=, not both"),
    ],
)
async def test_what_is_no_time_is_refused(ask: Ask, conn: psycopg.Connection, when: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await ask("start", double(), 1, **when)
    assert value(conn, "select count(*) from pgflow.flows") == 0


def test_ten_thousand_start_in_one_round_trip(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Call[Any]] = []

    def run(self: Database, call: Call[Any], real: Any = Database.run) -> Any:
        sent.append(call)
        return real(self, call)

    with Client(dsn) as client:
        flow = double()
        client.compile(flow)
        monkeypatch.setattr(Database, "run", run)
        runs = client.start_many(flow, range(10_000), keys=map(str, range(10_000)))
    assert [(run.input, run.key) for run in runs] == [(n, str(n)) for n in range(10_000)]
    assert len(sent) == 1
    assert rows(conn, "select count(*), count(distinct xmin::text) from pgflow.runs") == [(10_000, 1)]
    assert value(conn, "select count(*) from pgmq.q_double") == 10_000


def changed() -> Flow[Any, Any]:
    """`double`, as a later version of its code may have it."""
    flow = double()
    flow.step(slug="more")(lambda twice: twice)
    return flow


@pytest.mark.parametrize(("method", "given"), [("start", 1), ("start_many", [1, 2])])
async def test_a_flow_that_is_stored_otherwise_is_said_once_per_client_and_flow(
    ask: Ask, caplog: pytest.LogCaptureFixture, method: str, given: Any
) -> None:
    await ask("compile", double())
    await ask(method, double(), given)
    assert not caplog.records
    flow = changed()
    for _ in range(2):
        await ask(method, flow, given)
    [warning] = caplog.records
    assert (warning.name, warning.levelname) == ("pgflow.client", "WARNING")
    assert "flow 'double' differs from the one in the database (Step count differs: 2 vs 1" in warning.getMessage()
    assert "`pgflow compile FLOW --replace`" in warning.getMessage()
    await ask(method, changed(), given)
    assert len(caplog.records) == 2


async def test_only_the_first_start_of_a_flow_looks_at_what_is_stored(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    database = ask.client._database  # type: ignore[attr-defined]
    run = type(database).run
    monkeypatch.setattr(type(database), "run", lambda self, call: asked.append(call.sql) or run(self, call))
    await ask("compile", double())
    asked.clear()
    flow = double()
    for _ in range(3):
        await ask("start", flow, 1)
    assert ["_compare_flow_shapes" in sql for sql in asked] == [True, False, False, False]


async def test_a_flow_that_was_deleted_meanwhile_is_stored_again(ask: Ask, conn: psycopg.Connection) -> None:
    flow = double()
    for _ in range(2):
        await ask("start", flow, 1)
        conn.execute("select pgflow.delete_flow_and_data('double')")
    assert (await ask("start", flow, 1)).status == "started"


def test_within_a_transaction_another_flow_is_said_too_and_the_transaction_goes_on(
    dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(dsn) as client, psycopg.connect(dsn) as transaction:
        client.compile(double())
        flow = changed()
        for _ in range(2):
            client.start(flow, 1, connection=transaction)
        transaction.commit()
    assert [record.name for record in caplog.records] == ["pgflow.client"]
    assert value(conn, "select count(*) from pgflow.runs") == 2
