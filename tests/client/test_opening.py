"""What is said of a database that cannot be worked with."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgflow import AsyncClient
from pgflow.config import SettingsError
from pgflow.db import is_transient
from pgflow.errors import DatabaseUnreachable, SchemaError
from tests.client.conftest import ask_of, opener
from tests.support import aeventually, value

#: How many connections there are beside the test's.
OURS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


async def test_an_unreachable_database(kind: str) -> None:
    with pytest.raises(DatabaseUnreachable, match=r"127\.0\.0\.1"):
        await opener(kind)("postgresql://127.0.0.1:1/nowhere")


@pytest.mark.parametrize("given", [5, b"postgresql:///app"])
async def test_an_address_that_is_no_text(kind: str, given: Any) -> None:
    with pytest.raises(SettingsError, match="dsn must be a text, not of type"):
        await opener(kind)(given)


@pytest.mark.parametrize(
    "given", ["postgresql+psycopg://localhost/app", "postgresql+asyncpg://me:secret@localhost/app"]
)
async def test_an_address_for_sqlalchemy(kind: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = re.escape(given.partition(":")[0])
    with pytest.raises(
        SettingsError, match=rf"^this is no address of a database \(its scheme is {scheme}, not postgresq"
    ):
        await opener(kind)(given)
    monkeypatch.delenv("PGFLOW_DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL", given)
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is no address of a database") as raised:
        await opener(kind)(None)  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)


async def test_a_closed_client_says_so_whatever_became_of_its_server(
    kind: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_LISTEN_URL", "postgresql://127.0.0.1:1/gone")
    ask = ask_of(await opener(kind)(dsn))
    await ask("close")
    with pytest.raises(DatabaseUnreachable, match="is closed: make the call before, or open another"):
        await ask("wait", uuid4())


@pytest.mark.parametrize(("method", "given"), [("list_runs", ()), ("wait", (uuid4(),)), ("start", ("f", 1))])
async def test_a_closed_client_says_so(kind: str, dsn: str, method: str, given: tuple[Any, ...]) -> None:
    ask = ask_of(await opener(kind)(dsn))
    await ask("close")
    with pytest.raises(DatabaseUnreachable, match="is closed: make the call before, or open another") as raised:
        await ask(method, *given)
    assert is_transient(raised.value)  # a worker's part that outlives its database must not blame a task for it


async def test_a_database_that_is_not_migrated(kind: str, empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="run `pgflow migrate`"):
        await opener(kind)(empty_dsn)


async def test_a_database_that_is_too_new(kind: str, dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("insert into pgflow.schema_migrations values (9999, 'future')")
    with pytest.raises(SchemaError, match="newer than this code"):
        await opener(kind)(dsn)


async def test_a_database_that_is_too_old(kind: str, dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("update pgflow.schema_migrations set number = -number")
    with pytest.raises(SchemaError, match="run `pgflow migrate`"):
        await opener(kind)(dsn)


async def test_a_refused_client_leaves_no_connection_open(kind: str, dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("insert into pgflow.schema_migrations values (9999, 'future')")
    with pytest.raises(SchemaError):
        await opener(kind)(dsn)
    await aeventually(lambda: value(conn, OURS) == 0)


async def test_a_client_that_is_open_may_be_opened_and_is_opened_anew_once_closed(
    kind: str, dsn: str, conn: psycopg.Connection
) -> None:
    ask = ask_of(await opener(kind)(dsn))
    for _ in range(2):
        assert await ask("list_runs") == []
        pool = ask.client._database._pool  # type: ignore[attr-defined]
        await ask("open")
        assert ask.client._database._pool is pool  # type: ignore[attr-defined]
        assert await ask("list_runs") == []
        await ask("close")
        await aeventually(lambda: value(conn, OURS) == 0)
        await ask("open")
    await ask("close")


async def test_an_open_client_may_be_a_context_manager(dsn: str, conn: psycopg.Connection) -> None:
    client = AsyncClient(dsn)
    await client.open()
    async with client:
        assert await client.list_runs() == []
    await aeventually(lambda: value(conn, OURS) == 0)
    with pytest.raises(DatabaseUnreachable, match="is closed"):
        await client.list_runs()
