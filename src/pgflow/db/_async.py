"""A pool of connections that runs Calls. `_sync.py` is generated from this file: edit here only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from pgflow.calls import Call
from pgflow.config import Settings
from pgflow.db.address import Address, has_ended, prepare
from pgflow.db.errors import translated

T = TypeVar("T")

#: Seconds that a call waits for a connection while all are in use, or the database does not even refuse one.
_LONGEST_WAIT = 5.0
#: Seconds after which whoever waits for a connection looks whether the database is away: the pool would not say so.
_LOOK = 0.25


class AsyncDatabase:
    """A database that runs Calls, each in one round trip and one transaction of its own.

        async with AsyncDatabase(load()) as database:
            await database.run(calls.list_flows())

    Raises DatabaseUnreachable when opened and nobody answers.
    """

    def __init__(self, settings: Settings, *, max_size: int = 4, max_idle: float = 600.0) -> None:
        """At most `max_size` connections at once; one that was not needed for `max_idle` seconds is closed."""
        self.settings = settings
        self._max_size = max_size
        self._max_idle = max_idle
        self._address: Address | None = None
        self._pool: AsyncConnectionPool[AsyncConnection] | None = None
        self._refusals = 0
        self._spare: deque[AsyncConnection] = deque()  # whose pop is atomic: threads share a Database

    @property
    def dsn(self) -> str:
        """The address, with the embedded server's if none was given; valid while open."""
        if self._address is None:
            raise RuntimeError("not open yet: use it as a context manager, or call open() first")
        return self._address.dsn

    @property
    def is_embedded(self) -> bool:
        """Whether this is the private server that pgflow brings."""
        return self._address is not None and self._address.is_embedded

    @property
    def is_closed(self) -> bool:
        """Whether no call can succeed any more, or yet."""
        return self._pool is None or self._pool.closed

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
                max_idle=self._max_idle,
                reconnect_timeout=0,  # the next caller tries again, not a background task at its growing leisure
                reconnect_failed=self._count_refusal,
                open=False,
                configure=_configure_pooled,
                check=self._check,
                kwargs={"autocommit": True},
            )
            await self._pool.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes all connections, and gives up the embedded server; safe to call twice."""
        if self._pool is not None:
            await self._pool.close(timeout=1)  # one of its tasks may wait for a database that does not answer
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
        with translated(self.dsn):
            async with self._connection() as connection:
                cursor = await connection.execute(call.sql, call.args)
                rows = await cursor.fetchall()
        return call.decode(rows)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection for a call."""
        async with self._lend() as connection:
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                await self._distrust(connection)
                raise

    async def _distrust(self, connection: AsyncConnection) -> None:
        """Sees to it that calls go elsewhere: after a failover the address may lead to another server."""
        await connection.close()

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool's."""
        if self._pool is None:
            raise RuntimeError("not open yet: use it as a context manager, or call open() first")
        connection = await self._take(self._pool)
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    async def _take(self, pool: AsyncConnectionPool[AsyncConnection]) -> AsyncConnection:
        """Waits while all are in use, but not for a database that refuses connections."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while True:
            refusals = self._refusals
            try:
                return await pool.getconn(timeout=_LOOK)
            except PoolTimeout:
                if self._refusals > refusals:
                    async with await self.connect():  # raises the reason, which the pool keeps to itself
                        continue
                if time.monotonic() > deadline:
                    raise

    def _count_refusal(self, _: object) -> None:
        self._refusals += 1

    async def _check(self, connection: AsyncConnection) -> None:
        """Sorts out a connection that has ended while it was idle; all others are suspected, too, and made anew."""
        if has_ended(connection):
            await connection.close()
            if self._pool is not None:
                await self._pool.drain()
            raise psycopg.OperationalError("the connection has ended")

    async def connect(self, dsn: str | None = None) -> AsyncConnection:
        """A connection of one's own, in autocommit (for LISTEN, say)."""
        with translated(dsn or self.dsn):
            connection = await psycopg.AsyncConnection.connect(dsn or self.dsn, autocommit=True)
            try:
                await _configure(connection)
            except BaseException:
                await connection.close()
                raise
            return connection

    async def listening(self, *channels: str) -> AsyncConnection:
        """A connection of one's own that listens on these channels, at PGFLOW_LISTEN_URL where one is set."""
        dsn = self.settings.listen_dsn or self.dsn
        with translated(dsn):
            connection = await self.connect(dsn)
            try:
                await _listen(connection, channels)
            except BaseException:
                await connection.close()
                raise
            return connection

    @asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[AsyncConnection]:
        """A connection that listens on these channels, at PGFLOW_LISTEN_URL where one is set.

        Outside the pool, which a few that wait would exhaust; the last one used is kept for the next who listens.
        """
        dsn = self.settings.listen_dsn or self.dsn
        with translated(dsn):
            connection = await self._spare_or_new(dsn)
            try:
                await _listen(connection, channels)
                yield connection
                await connection.execute("unlisten *")
            except BaseException:
                await connection.close()
                raise
            if self._spare or self._pool is None or self._pool.closed:  # nobody would close it
                await connection.close()
            else:
                self._spare.append(connection)

    async def _spare_or_new(self, dsn: str) -> AsyncConnection:
        if self.is_closed:
            raise PoolClosed
        while self._spare:
            try:
                connection = self._spare.pop()
            except IndexError:  # another thread was quicker
                break
            if not has_ended(connection):
                return connection
            await connection.close()
        return await self.connect(dsn)


async def _listen(connection: AsyncConnection, channels: Iterable[str]) -> None:
    for channel in channels:
        await connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(channel)))


async def _configure(connection: AsyncConnection) -> None:
    """Behind a pooler, which invents the pid it tells, a statement may run elsewhere than where it was prepared.

    Whatever the database's default, who waited for a lock must see what its holder did.
    """
    prepare(connection)
    cursor = await connection.execute("select pg_backend_pid(), current_setting('default_transaction_isolation')")
    pid, isolation = await cursor.fetchone() or (None, None)
    if pid != connection.info.backend_pid:
        connection.prepare_threshold = None
    elif isolation != "read committed":
        await connection.execute("set default_transaction_isolation to 'read committed'")


async def _configure_pooled(connection: AsyncConnection) -> None:
    await _configure(connection)
    # a pooler may let us hear what another of its clients listened to: psycopg would keep that for ever
    connection.add_notify_handler(_ignore)


def _ignore(_: object) -> None: ...
