"""A pool of connections that runs Calls. `_sync.py` is generated from this file: edit here only."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from pgflow.calls import Call
from pgflow.config import Settings
from pgflow.db.address import Address, prepare
from pgflow.db.errors import translated

T = TypeVar("T")

#: Seconds that a call waits for a connection, be it that all are in use or that the database is away.
_LONGEST_WAIT = 5.0


class AsyncDatabase:
    """A database that runs Calls, each in one round trip and one transaction of its own.

        async with AsyncDatabase(load()) as database:
            await database.run(calls.list_flows())

    Raises DatabaseUnreachable when opened and nobody answers.
    """

    def __init__(self, settings: Settings, *, max_size: int = 4) -> None:
        self.settings = settings
        self._max_size = max_size
        self._address: Address | None = None
        self._pool: AsyncConnectionPool[AsyncConnection] | None = None
        self._spare: deque[AsyncConnection] = deque()  # whose pop is atomic: threads share a Database

    @property
    def dsn(self) -> str:
        """The address, with the embedded server's if none was given; valid while open."""
        if self._address is None:
            raise RuntimeError("the database is not open: use it as a context manager")
        return self._address.dsn

    @property
    def is_embedded(self) -> bool:
        """Whether this is the private server that pgflow brings."""
        return self._address is not None and self._address.is_embedded

    async def open(self) -> None:
        """Connects once, so that an unreachable database is noticed here, and opens the pool."""
        self._address = Address.of(self.settings)
        try:
            async with await self.connect():
                pass
            self._pool = AsyncConnectionPool(
                self.dsn,
                min_size=0,
                max_size=self._max_size,
                timeout=_LONGEST_WAIT,
                reconnect_timeout=0,  # the next caller tries again, not a background task at its growing leisure
                open=False,
                configure=_configure,
                kwargs={"autocommit": True},
            )
            await self._pool.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes all connections, and gives up the embedded server; safe to call twice."""
        if self._pool is not None:
            await self._pool.close()
        while self._spare:
            await self._spare.pop().close()
        if self._address is not None:
            self._address.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self, call: Call[T]) -> T:
        """Runs one Call and returns its decoded answer."""
        if self._pool is None:
            raise RuntimeError("the database is not open: use it as a context manager")
        with translated(self.dsn):
            async with self._pool.connection() as connection:
                cursor = await connection.execute(call.sql, call.args)
                rows = await cursor.fetchall()
        return call.decode(rows)

    async def connect(self, dsn: str | None = None) -> AsyncConnection:
        """A connection of one's own, in autocommit (for LISTEN, say)."""
        with translated(dsn or self.dsn):
            connection = await psycopg.AsyncConnection.connect(dsn or self.dsn, autocommit=True)
            await _configure(connection)
            return connection

    @asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[AsyncConnection]:
        """A connection that listens on these channels, at PGFLOW_LISTEN_URL where one is set.

        Outside the pool, which a few that wait would exhaust; the last one used is kept for the next who listens.
        """
        dsn = self.settings.listen_dsn or self.dsn
        with translated(dsn):
            try:
                connection = self._spare.pop()
            except IndexError:
                connection = await self.connect(dsn)
            try:
                for channel in channels:
                    await connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(channel)))
                yield connection
                await connection.execute("unlisten *")
            except BaseException:
                await connection.close()
                raise
            if self._spare or self._pool is None or self._pool.closed:
                await connection.close()
            else:
                self._spare.append(connection)


async def _configure(connection: AsyncConnection) -> None:
    prepare(connection)
