"""A database that needs one connection while there is little to do: the one that listens also runs calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from psycopg import AsyncConnection, OperationalError
from psycopg.pq import TransactionStatus

from pgflow.config import Settings
from pgflow.db._async import AsyncDatabase
from pgflow.db.address import has_input

#: Seconds after which a connection of the pool is closed that nobody needed.
_MOST_IDLE = 3.0
#: Seconds that a call waits for the connection that listens before the pool opens one: two short calls that happen to
#: coincide need none.
_PATIENCE = 0.05


class SharingDatabase(AsyncDatabase):
    """Calls run on the connection that listens while that does nothing else, and on those of the pool otherwise.

        async with SharingDatabase(load()) as database, database.hearing("pgflow_work", print) as lost:
            await database.run(calls.list_flows())
            await lost.wait()

    Where a pooler stands between, or PGFLOW_LISTEN_URL leads elsewhere, the listening connection only listens.
    """

    def __init__(self, settings: Settings, *, max_size: int = 4) -> None:
        super().__init__(settings, max_size=max_size, max_idle=_MOST_IDLE)
        self._line: _Line | None = None

    @asynccontextmanager
    async def hearing(self, channel: str, hear: Callable[[str], None]) -> AsyncIterator[asyncio.Event]:
        """Calls `hear` with each payload on this channel; yields what is set when the connection is lost."""
        line = _Line(await self.listening(channel), hear)
        # behind a pooler a statement runs wherever it likes, see _configure
        if self.settings.listen_dsn is None and line.connection.prepare_threshold is not None:
            self._line = line
        try:
            yield line.lost
        finally:
            self._line = None
            await line.hang_up()

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[AsyncConnection]:
        if self._line is not None and (self._line.is_free or await self._comes_back(self._line)):
            async with self._line.lent() as connection:
                yield connection
        else:
            async with super()._lend() as connection:
                yield connection

    async def _comes_back(self, line: _Line) -> bool:
        """Whether to wait pays: the pool has nothing to lend just now, and the line is soon free."""
        if self._pool is None or self._pool.get_stats()["pool_available"]:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while not line.is_free and not line.lost.is_set():  # one who came later may be quicker
                    await line.is_back.wait()
        return self._line is line and line.is_free

    async def _distrust(self, connection: AsyncConnection) -> None:
        """It may go on listening, and whoever listens will find out if in vain."""
        if self._line is not None and connection is self._line.connection:
            self._line = None
        else:
            await super()._distrust(connection)


class _Line:
    """A connection that listens, watched by the event loop while it is not lent."""

    def __init__(self, connection: AsyncConnection, hear: Callable[[str], None]) -> None:
        self.connection = connection
        self.lost = asyncio.Event()
        #: Not set while it is lent.
        self.is_back = asyncio.Event()
        self.is_back.set()
        self._loop = asyncio.get_running_loop()
        self._socket = connection.fileno()
        connection.add_notify_handler(lambda notification: hear(notification.payload))
        self._watch()

    @property
    def is_free(self) -> bool:
        if self.is_back.is_set() and not self.lost.is_set():
            self._take_in()  # the server's farewell may be what has come
        return self.is_back.is_set() and not self.lost.is_set()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[AsyncConnection]:
        """The connection, for one call; psycopg watches it meanwhile, and passes notifications on."""
        self.is_back.clear()
        self._loop.remove_reader(self._socket)
        try:
            yield self.connection
        finally:
            self.is_back.set()
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                self.lost.set()
            if self.lost.is_set():
                await self.connection.close()
            else:
                self._watch()

    async def hang_up(self) -> None:
        """Closes it, once nobody uses it any more."""
        self.lost.set()
        if self.is_back.is_set():
            self._loop.remove_reader(self._socket)
            await self.connection.close()

    def _watch(self) -> None:
        self._loop.add_reader(self._socket, self._take_in)
        self._take_in()  # what came before it was watched

    def _take_in(self) -> None:
        """Reads what has come, without waiting, and passes on the notifications in it."""
        pgconn = self.connection.pgconn
        try:
            while has_input(self.connection):  # a farewell is followed by the end
                pgconn.consume_input()
                while (notification := pgconn.notifies()) is not None:
                    if pgconn.notify_handler is not None:
                        pgconn.notify_handler(notification)
        except OperationalError:
            self._loop.remove_reader(self._socket)
            self.lost.set()
