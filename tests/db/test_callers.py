"""Starting a run within the caller's own transaction, on whatever connection he has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import asyncpg
import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connections
from django.db.transaction import atomic
from django.utils.connection import ConnectionProxy
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from pgflow import AsyncClient, Client, Flow, FlowSpec, Run, StepSpec
from pgflow.errors import FlowNotFound, InvalidInputError, SchemaError
from tests.support import rows, value

#: Each yields a connection with a transaction open, which is committed at the end and rolled back by an error.
Blocking: TypeAlias = Callable[[str], AbstractContextManager[Any]]
Asynchronous: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]


def url(dsn: str, driver: str) -> sqlalchemy.URL:
    parts = conninfo_to_dict(dsn)
    return sqlalchemy.URL.create(
        f"postgresql+{driver}",
        username=parts.get("user"),
        password=parts.get("password"),
        database=parts["dbname"],
        query={"host": parts["host"], "port": str(parts.get("port", 5432))},
    )


@contextmanager
def engine(dsn: str, driver: str = "psycopg") -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine(url(dsn, driver), poolclass=NullPool)
    yield made
    made.dispose()


@contextmanager
def of_psycopg(dsn: str) -> Iterator[Any]:
    with psycopg.connect(dsn) as connection:
        yield connection


@contextmanager
def of_psycopg_with_its_own_ways(dsn: str) -> Iterator[Any]:
    with (
        psycopg.connect(dsn, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection,
        connection.transaction(),
    ):
        yield connection


@contextmanager
def of_sqlalchemy(dsn: str) -> Iterator[Any]:
    with engine(dsn) as made, made.begin() as connection:
        yield connection


@contextmanager
def of_a_session(dsn: str) -> Iterator[Any]:
    with engine(dsn) as made, Session(made) as session, session.begin():
        yield session


@contextmanager
def of_a_scoped_session(dsn: str) -> Iterator[Any]:
    with engine(dsn) as made:
        scope = scoped_session(sessionmaker(made))
        try:
            with scope.begin():
                yield scope
        finally:
            scope.remove()


def configured(dsn: str) -> Any:
    """Django's connection to this database, made anew."""
    parts = conninfo_to_dict(dsn)
    if not settings.configured:
        settings.configure(USE_TZ=False, DATABASES={"default": {"ENGINE": "django.db.backends.dummy"}})
        django.setup()
    connections.databases["pgflow"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts["dbname"],
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password") or "",
        "HOST": parts["host"],
        "PORT": str(parts.get("port", "")),
        "OPTIONS": {},
    }
    return connections["pgflow"]


@contextmanager
def of_django(dsn: str) -> Iterator[Any]:
    connection = configured(dsn)
    try:
        with atomic("pgflow"):
            yield connection
    finally:
        connection.close()
        del connections["pgflow"]


@contextmanager
def of_djangos_proxy(dsn: str) -> Iterator[Any]:
    """What `from django.db import connection` is."""
    with of_django(dsn):
        yield ConnectionProxy(connections, "pgflow")


@asynccontextmanager
async def of_async_psycopg(dsn: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        yield connection


@asynccontextmanager
async def of_asyncpg(dsn: str) -> AsyncIterator[Any]:
    parts = conninfo_to_dict(dsn)
    connection = await asyncpg.connect(
        host=parts["host"],
        port=int(parts.get("port") or 5432),
        user=parts.get("user"),
        password=parts.get("password"),
        database=parts["dbname"],
    )
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def of_a_pool_of_asyncpg(dsn: str) -> AsyncIterator[Any]:
    parts = conninfo_to_dict(dsn)
    made = asyncpg.create_pool(
        host=parts["host"],
        port=int(parts.get("port") or 5432),
        user=parts.get("user"),
        password=parts.get("password"),
        database=parts["dbname"],
        min_size=1,
        max_size=1,
    )
    async with made as pool, pool.acquire() as connection, connection.transaction():
        yield connection


def of_async_sqlalchemy(driver: str) -> Asynchronous:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Any]:
        made = create_async_engine(url(dsn, driver), poolclass=NullPool)
        async with made.begin() as connection:
            yield connection

    return opened


def of_an_async_session(driver: str) -> Asynchronous:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Any]:
        made = create_async_engine(url(dsn, driver), poolclass=NullPool)
        async with AsyncSession(made) as session, session.begin():
            yield session

    return opened


@asynccontextmanager
async def of_an_async_scoped_session(dsn: str) -> AsyncIterator[Any]:
    made = create_async_engine(url(dsn, "asyncpg"), poolclass=NullPool)
    scope = async_scoped_session(async_sessionmaker(made), scopefunc=lambda: 1)
    try:
        async with scope.begin():
            yield scope
    finally:
        await scope.remove()


BLOCKING: dict[str, Blocking] = {
    "psycopg": of_psycopg,
    "psycopg, odd": of_psycopg_with_its_own_ways,
    "sqlalchemy": of_sqlalchemy,
    "session": of_a_session,
    "scoped session": of_a_scoped_session,
    "django": of_django,
    "django.db.connection": of_djangos_proxy,
}
ASYNCHRONOUS: dict[str, Asynchronous] = {
    "psycopg": of_async_psycopg,
    "asyncpg": of_asyncpg,
    "asyncpg's pool": of_a_pool_of_asyncpg,
    "sqlalchemy on psycopg": of_async_sqlalchemy("psycopg"),
    "sqlalchemy on asyncpg": of_async_sqlalchemy("asyncpg"),
    "session on psycopg": of_an_async_session("psycopg"),
    "session on asyncpg": of_an_async_session("asyncpg"),
    "scoped session": of_an_async_scoped_session,
}


class Undone(Exception):
    """Rolls a transaction back."""


def orders(slug: str = "orders") -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow(slug)
    flow.step(slug="pack")(lambda flow_input: flow_input)
    return flow


@pytest.fixture
def client(dsn: str) -> Iterator[Client]:
    with Client(dsn) as opened:
        opened.compile(orders())
        yield opened


@pytest.fixture
async def aclient(dsn: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(dsn) as opened:
        await opened.compile(orders())
        yield opened


def ids(conn: psycopg.Connection) -> list[Any]:
    return [run_id for (run_id,) in rows(conn, "select run_id from pgflow.runs order by idempotency_key")]


INPUT = {"ü": [1, 2.5, None, "it's 100%s $1 :x"]}


def check(run: Run, known: Run) -> None:
    """The same as the client's own connection says."""
    assert run == known
    assert (run.flow_slug, run.status, run.input, run.key) == ("orders", "started", INPUT, "k:%s")
    assert run.started_at.utcoffset() is not None


@pytest.mark.parametrize("kind", BLOCKING)
def test_a_run_is_there_if_and_only_if_the_caller_commits(
    dsn: str, conn: psycopg.Connection, client: Client, kind: str
) -> None:
    with BLOCKING[kind](dsn) as connection:
        run = client.start(orders(), INPUT, key="k:%s", connection=connection)
        assert ids(conn) == []
    assert ids(conn) == [run.run_id]
    check(run, client.start("orders", 0, key="k:%s"))
    with BLOCKING[kind](dsn) as connection:
        more = client.start_many("orders", [1, 2], keys=["a", "b"], delay=60, connection=connection)
    assert [r.input for r in more] == [1, 2]
    assert ids(conn) == [*(r.run_id for r in more), run.run_id]

    def undo() -> None:
        with BLOCKING[kind](dsn) as connection:
            client.start(orders("new"), INPUT, connection=connection)
            raise Undone

    with pytest.raises(Undone):
        undo()
    assert len(ids(conn)) == value(conn, "select count(*) from pgmq.q_orders") == 3
    assert value(conn, "select count(*) from pgflow.flows") == 1
    with BLOCKING[kind](dsn) as connection:  # now the flow is stored by the same transaction
        run = client.start(orders("new"), INPUT, connection=connection)
    assert rows(conn, "select run_id from pgflow.runs where flow_slug = 'new'") == [(run.run_id,)]


@pytest.mark.parametrize("kind", ASYNCHRONOUS)
async def test_a_run_is_there_if_and_only_if_the_asynchronous_caller_commits(
    dsn: str, conn: psycopg.Connection, aclient: AsyncClient, kind: str
) -> None:
    async with ASYNCHRONOUS[kind](dsn) as connection:
        run = await aclient.start(orders(), INPUT, key="k:%s", connection=connection)
        assert ids(conn) == []
    assert ids(conn) == [run.run_id]
    check(run, await aclient.start("orders", 0, key="k:%s"))
    async with ASYNCHRONOUS[kind](dsn) as connection:
        more = await aclient.start_many("orders", [1, 2], keys=["a", "b"], delay=60, connection=connection)
    assert [r.input for r in more] == [1, 2]
    assert ids(conn) == [*(r.run_id for r in more), run.run_id]

    async def undo() -> None:
        async with ASYNCHRONOUS[kind](dsn) as connection:
            await aclient.start(orders("new"), INPUT, connection=connection)
            raise Undone

    with pytest.raises(Undone):
        await undo()
    assert len(ids(conn)) == value(conn, "select count(*) from pgmq.q_orders") == 3
    assert value(conn, "select count(*) from pgflow.flows") == 1
    async with ASYNCHRONOUS[kind](dsn) as connection:  # now the flow is stored by the same transaction
        run = await aclient.start(orders("new"), INPUT, connection=connection)
    assert rows(conn, "select run_id from pgflow.runs where flow_slug = 'new'") == [(run.run_id,)]


@pytest.mark.parametrize("kind", BLOCKING)
def test_what_pgflow_refuses_raises_our_errors(dsn: str, client: Client, kind: str) -> None:
    def refused(slug: str, **options: Any) -> None:
        with BLOCKING[kind](dsn) as connection:
            client.start_many(slug, [1, 2], connection=connection, **options)

    with pytest.raises(FlowNotFound, match="'no_such'"):
        refused("no_such")
    client.compile(FlowSpec(slug="lists", steps=[StepSpec(slug="each", step_type="map")]))
    with pytest.raises(InvalidInputError, match="not an array"):
        refused("lists")


@pytest.mark.parametrize("kind", ASYNCHRONOUS)
async def test_what_pgflow_refuses_raises_our_errors_asynchronously(dsn: str, aclient: AsyncClient, kind: str) -> None:
    async def refused(slug: str, **options: Any) -> None:
        async with ASYNCHRONOUS[kind](dsn) as connection:
            await aclient.start_many(slug, [1, 2], connection=connection, **options)

    with pytest.raises(FlowNotFound, match="'no_such'"):
        await refused("no_such")
    await aclient.compile(FlowSpec(slug="lists", steps=[StepSpec(slug="each", step_type="map")]))
    with pytest.raises(InvalidInputError, match="not an array"):
        await refused("lists")


def test_a_database_without_pgflow_is_said_so(empty_dsn: str, client: Client) -> None:
    with psycopg.connect(empty_dsn) as connection, pytest.raises(SchemaError, match="run `pgflow migrate`"):
        client.start("orders", 1, connection=connection)


def test_the_drivers_own_errors_are_let_through(dsn: str, client: Client) -> None:
    run = client.start("orders", 1)
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        client.start("orders", 1, run_id=run.run_id, connection=connection)
    with pytest.raises(psycopg.OperationalError, match="closed"):
        client.start("orders", 1, connection=connection)


def test_a_savepoint_of_the_callers_holds_an_error(dsn: str, conn: psycopg.Connection, client: Client) -> None:
    with psycopg.connect(dsn) as connection:
        with pytest.raises(FlowNotFound), connection.transaction():
            client.start("no_such", 1, connection=connection)
        client.start("orders", 1, connection=connection)
    assert len(ids(conn)) == 1


@pytest.mark.parametrize(
    "given", [object(), 5, "postgresql:///app", Client, []], ids=lambda given: type(given).__name__
)
async def test_anything_else_is_refused(client: Client, aclient: AsyncClient, given: Any) -> None:
    expected = "connection: expected a psycopg, SQLAlchemy, asyncpg or Django connection, or an SQLAlchemy session"
    with pytest.raises(InvalidInputError, match=expected):
        client.start("orders", 1, connection=given)
    with pytest.raises(InvalidInputError, match=expected):
        await aclient.start(orders(), 1, connection=given)


async def test_a_connection_of_the_other_kind_is_sent_to_the_other_client(
    dsn: str, client: Client, aclient: AsyncClient
) -> None:
    with (
        of_sqlalchemy(dsn) as connection,
        pytest.raises(InvalidInputError, match=r"Connection is for Client, not for this client"),
    ):
        await aclient.start("orders", 1, connection=connection)
    async with of_asyncpg(dsn) as connection:
        with pytest.raises(InvalidInputError, match=r"asyncpg.connection.Connection is for AsyncClient"):
            client.start("orders", 1, connection=connection)


def test_another_database_system_is_refused(client: Client) -> None:
    with (
        sqlalchemy.create_engine("sqlite://").connect() as connection,
        pytest.raises(InvalidInputError, match="it leads to sqlite, but pgflow's runs are in PostgreSQL"),
    ):
        client.start("orders", 1, connection=connection)
