"""Callers' own connections: a Call runs inside the transaction that its caller has open, and ends when he ends it.

    run(connection, call)                 # psycopg, SQLAlchemy, Django
    await arun(connection, call)          # psycopg, SQLAlchemy and asyncpg, asynchronous

Nothing is committed, rolled back or closed here. What a connection is, the names of its classes say, so that no driver
is imported which the caller has not imported himself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import psycopg
from psycopg.rows import tuple_row

from pgflow.calls import Call
from pgflow.db.errors import refusal
from pgflow.errors import InvalidInputError

T = TypeVar("T")

_BLOCKING = (
    "psycopg.Connection",
    "sqlalchemy.Connection",
    "sqlalchemy.Session",
    "sqlalchemy.scoped_session",
    "django.BaseDatabaseWrapper",
    "django.ConnectionProxy",
)
_ASYNCHRONOUS = (
    "psycopg.AsyncConnection",
    "sqlalchemy.AsyncConnection",
    "sqlalchemy.AsyncSession",
    "sqlalchemy.async_scoped_session",
    "asyncpg.Connection",
    "asyncpg.PoolConnectionProxy",
)
_EXPECTED = "a psycopg, SQLAlchemy, asyncpg or Django connection, or an SQLAlchemy session"


def run(connection: Any, call: Call[T]) -> T:
    """Runs a Call on a blocking connection; raises InvalidInputError for anything else, and the driver's own errors.

    Where pgflow's SQL refuses, our errors are raised; the transaction cannot go on then, as after any error.
    """
    kind = _kind(connection, _BLOCKING, "AsyncClient" if _names(connection) & set(_ASYNCHRONOUS) else None)
    with _translated():
        match kind:
            case "psycopg.Connection":
                rows = psycopg.Cursor(connection, row_factory=tuple_row).execute(call.sql, call.args).fetchall()
            case "sqlalchemy.Connection":
                rows = connection.exec_driver_sql(_sql(connection, call), call.args).fetchall()
            case "sqlalchemy.Session" | "sqlalchemy.scoped_session":
                session = connection.connection()
                rows = session.exec_driver_sql(_sql(session, call), call.args).fetchall()
            case _:
                _expect_postgresql(connection.vendor)
                with connection.cursor() as cursor:
                    cursor.execute(call.sql, call.args)
                    rows = cursor.fetchall()
    return call.decode(rows)


async def arun(connection: Any, call: Call[T]) -> T:
    """`run` for asynchronous connections."""
    kind = _kind(connection, _ASYNCHRONOUS, "Client" if _names(connection) & set(_BLOCKING) else None)
    rows: Sequence[Any]
    with _translated():
        match kind:
            case "psycopg.AsyncConnection":
                cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
                rows = await (await cursor.execute(call.sql, call.args)).fetchall()
            case "sqlalchemy.AsyncConnection":
                rows = (await connection.exec_driver_sql(_sql(connection, call), call.args)).fetchall()
            case "sqlalchemy.AsyncSession" | "sqlalchemy.async_scoped_session":
                session = await connection.connection()
                rows = (await session.exec_driver_sql(_sql(session, call), call.args)).fetchall()
            case _:
                rows = await connection.fetch(_numbered(call.sql), *call.args)
    return call.decode(rows)


def _kind(connection: Any, known: Sequence[str], other_client: str | None) -> str:
    """Which of the known kinds a connection is; raises InvalidInputError if it is none."""
    names = _names(connection)
    for name in known:
        if name in names:
            return name
    shown = f"{type(connection).__module__}.{type(connection).__qualname__}"
    if other_client is not None:
        raise InvalidInputError(f"connection: a {shown} is for {other_client}, not for this client")
    raise InvalidInputError(f"connection: expected {_EXPECTED}, not a {shown}")


def _names(connection: Any) -> set[str]:
    """`package.Class` of the object's class and all its bases."""
    return {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(connection).__mro__}


def _sql(connection: Any, call: Call[Any]) -> str:
    """The statement as the driver below SQLAlchemy wants it."""
    _expect_postgresql(connection.dialect.name)
    return _numbered(call.sql) if connection.dialect.driver == "asyncpg" else call.sql


def _numbered(sql: str) -> str:
    """`%s, %s` as `$1, $2`."""
    numbers = count(1)
    return re.sub("%s", lambda _: f"${next(numbers)}", sql)


def _expect_postgresql(name: str) -> None:
    if name != "postgresql":
        raise InvalidInputError(f"connection: it leads to {name}, but pgflow's runs are in PostgreSQL")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        servers = _servers(error)
        ours = None if servers is None else refusal(servers.sqlstate, servers)
        if ours is None:
            raise
        raise ours from error


def _servers(error: BaseException | None) -> Any:
    """What the server said, below what SQLAlchemy and Django make of it."""
    found = None
    while error is not None:
        if getattr(error, "sqlstate", None):
            found = error
        error = getattr(error, "orig", None) or error.__cause__
    return found
