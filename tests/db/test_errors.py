"""Errors of the database as users see them: the right class, the way out, and never a password."""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow import AsyncClient, Client
from pgflow.calls import Call
from pgflow.config import SettingsError, load
from pgflow.db import AsyncDatabase, Database, is_transient
from pgflow.db._async import _LONGEST_WAIT
from pgflow.errors import DatabaseError, DatabaseUnreachable, FlowNotFound, PgflowError, RunNotFound, SchemaError
from tests.faults.proxy import Proxy


def ask(sql: str) -> Call[Any]:
    return Call(sql, (), list)


@pytest.mark.parametrize(
    ("sql", "kind", "transient"),
    [
        ("select 1/0", DatabaseError, False),
        ("select '{'::jsonb", PgflowError, False),
        ("select jsonb '1e400000'", DatabaseError, False),
        ("select * from pgflow.no_such_table", SchemaError, True),
        ("select pgflow.no_such_function()", SchemaError, True),
        ("select pgflow.cancel_run('6f1b9b5e-0000-4000-8000-000000000000')", RunNotFound, False),
        ("select pgflow.pause_flow('nope')", FlowNotFound, False),
        ("select pg_terminate_backend(pg_backend_pid())", DatabaseUnreachable, True),
        ("do $$ begin raise sqlstate '40001'; end $$", DatabaseError, True),
        ("do $$ begin raise sqlstate '40P01'; end $$", DatabaseError, True),
        ("do $$ begin raise sqlstate '53300'; end $$", DatabaseUnreachable, True),
        ("do $$ begin raise sqlstate '55P03'; end $$", DatabaseError, True),
        ("do $$ begin raise sqlstate '54000'; end $$", DatabaseError, False),
        ("do $$ begin raise sqlstate '42501'; end $$", DatabaseError, True),
        ("do $$ begin raise sqlstate '25006'; end $$", DatabaseUnreachable, True),
        ("do $$ begin raise sqlstate '58030'; end $$", DatabaseError, True),
        ("do $$ begin raise sqlstate 'XX000'; end $$", DatabaseError, False),
    ],
)
async def test_postgresqls_errors_become_ours(database: AsyncDatabase, sql: str, kind: type, transient: bool) -> None:
    with pytest.raises(kind) as caught:
        await database.run(ask(sql))
    assert isinstance(caught.value, PgflowError)
    assert is_transient(caught.value) is transient
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.Error)


@pytest.mark.parametrize(
    "words",
    [
        "total size of jsonb array elements exceeds the maximum of 268435455 bytes",
        "array size exceeds the maximum allowed (1073741823)",  # of outputs that are yet to become one value
    ],
)
async def test_who_returns_too_much_is_told_what_to_do(database: AsyncDatabase, words: str) -> None:
    with pytest.raises(DatabaseError, match=r"268,435,455 bytes in a value.*return less"):
        await database.run(ask(f"do $$ begin raise '{words}' using errcode = '54000'; end $$"))


async def test_connections_that_were_killed_while_idle_are_replaced_before_anybody_gets_them(
    database: AsyncDatabase, conn: psycopg.Connection
) -> None:
    idle = await asyncio.gather(*(database.run(ask("select pg_backend_pid(), pg_sleep(0.1)")) for _ in range(4)))
    pids = {pid for [(pid, _)] in idle}
    assert len(pids) > 1
    conn.execute("select pg_terminate_backend(pid, 5000) from unnest(%s::int[]) as pid", [list(pids)])
    for _ in range(8):
        [(pid,)] = await database.run(ask("select pg_backend_pid()"))
        assert pid not in pids


async def test_a_connection_that_was_killed_at_work_fails_its_call_alone(database: AsyncDatabase) -> None:
    with pytest.raises(DatabaseUnreachable):
        await database.run(ask("select pg_terminate_backend(pg_backend_pid())"))
    assert await database.run(ask("select 1")) == [(1,)]


async def test_who_waits_for_a_connection_learns_at_once_that_the_database_refuses_it(dsn: str) -> None:
    async with Proxy(dsn) as network, AsyncDatabase(load(dsn=network.dsn)) as database:
        await database.run(ask("select 1"))
        network.refuse()
        with pytest.raises(DatabaseUnreachable):
            await database.run(ask("select 1"))  # whose connection may have been idle until then
        began = time.monotonic()
        with pytest.raises(DatabaseUnreachable, match="refused"):
            await database.run(ask("select 1"))
        assert time.monotonic() - began < _LONGEST_WAIT
        await network.heal()
        assert await database.run(ask("select 1")) == [(1,)]


async def test_who_waits_while_all_connections_are_in_use_gets_one_in_the_end(dsn: str) -> None:
    async with AsyncDatabase(load(dsn=dsn), max_size=1) as database:
        busy = asyncio.create_task(database.run(ask("select pg_sleep(1)")))
        await asyncio.sleep(0)
        assert await database.run(ask("select 1")) == [(1,)]
        await busy


async def test_a_connection_to_a_server_that_cannot_be_written_is_given_up(dsn: str, conn: psycopg.Connection) -> None:
    write = ask("insert into pgflow.flows (flow_slug) values ('written') returning flow_slug")
    conn.execute(f"alter database {conn.info.dbname} set default_transaction_read_only = on")
    async with AsyncDatabase(load(dsn=dsn)) as database:
        with pytest.raises(
            DatabaseUnreachable, match=r"cannot be written \(.*read-only transaction\): is it a standby"
        ):
            await database.run(write)
        conn.execute(f"alter database {conn.info.dbname} reset default_transaction_read_only")
        await database.run(write)


async def test_a_closed_database_says_so_and_closing_twice_is_fine(dsn: str) -> None:
    database = AsyncDatabase(load(dsn=dsn))
    with pytest.raises(RuntimeError, match="not open"):
        await database.run(ask("select 1"))
    await database.open()
    await database.close()
    await database.close()
    with pytest.raises((DatabaseError, RuntimeError)):
        await database.run(ask("select 1"))


UNREACHABLE = [
    "postgresql://me:s3cr3t@127.0.0.1:1/app",
    "host=127.0.0.1 port=1 user=me password=s3cr3t",
    "host=127.0.0.1 port=1 user=me password='s3cr3t and s3cr3t'",
    "host=127.0.0.1 port=1 user=me password='it\\'s s3cr3t'",
    "host=127.0.0.1 port=1 user=me password=a&s3cr3t",
    "postgresql://127.0.0.1:1/app?user=me&password=s3cr3t",
    "postgresql://me:s3%20cr3t%26s3cr3t@127.0.0.1:1/app",
    "postgresql://me:s3cr3t@no-such-host.invalid/app",
]
MALFORMED = [
    "postgresql://me:s3cr3t%zz@127.0.0.1:1/app",
    "postgresql://me:s3cr3t@127.0.0.1:port/app",
    "postgresql://me:s3cr3t@[::1/app",
    "host=127.0.0.1 password=one s3cr3t",
    "host=127.0.0.1 password='s3cr3t",
    "postgresql://me:p@s3cr3t@127.0.0.1:1/app",
    "postgresql://me:p/s3cr3t@127.0.0.1:1/app",
]


@pytest.mark.parametrize("dsn", UNREACHABLE + MALFORMED)
@pytest.mark.parametrize("client", [AsyncClient, Client])
async def test_no_password_is_in_the_text_of_an_error(client: type, dsn: str) -> None:
    opened = client(dsn)
    with pytest.raises(DatabaseUnreachable if dsn in UNREACHABLE else SettingsError) as caught:
        await opened.open() if client is AsyncClient else opened.open()
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(caught.value)
    assert "\n" not in str(caught.value)


async def test_no_password_is_in_the_text_of_an_error_of_the_server(dsn: str) -> None:
    wrong = make_conninfo(dsn, user="no_such_role", password="s3cr3t")
    with pytest.raises(DatabaseUnreachable) as caught:
        await AsyncClient(wrong).open()
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value)).replace("SystemExit", "")
    assert "no_such_role" in str(caught.value)


def test_a_listening_address_that_is_wrong_hides_its_password(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_LISTEN_URL", "postgresql://me:s3cr3t@127.0.0.1:1/app")
    with (
        Database(load(dsn=dsn)) as database,
        pytest.raises(DatabaseUnreachable) as caught,
        database.listen("channel"),
    ):
        pytest.fail("it listens")
    assert "127.0.0.1" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.slow
def test_what_is_too_large_for_jsonb_is_told_with_the_way_out(dsn: str) -> None:
    with (
        Database(load(dsn=dsn)) as database,
        pytest.raises(DatabaseError, match=r"268,435,455.*a map's outputs.*return") as raised,
    ):
        database.run(ask("select to_jsonb(repeat('x', 268435456))"))
    assert not is_transient(raised.value)
