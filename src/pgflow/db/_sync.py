"""A pool of connections that runs Calls. Generated from `_async.py` by scripts/unasync.py: do not edit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from pgflow.calls import Call
from pgflow.config import Settings
from pgflow.db.address import Address, has_ended, prepare
from pgflow.db.errors import translated

T = TypeVar("T")

#: Seconds that a call waits for a connection while all are in use, or the database does not even refuse one.
_LONGEST_WAIT = 5.0
#: Seconds after which whoever waits for a connection looks whether the database is away: the pool would not say so.
_LOOK = 0.25


class Database:
    """A database that runs Calls, each in one round trip and one transaction of its own.

        with Database(load()) as database:
            database.run(calls.list_flows())

    Raises DatabaseUnreachable when opened and nobody answers.
    """

    def __init__(self, settings: Settings, *, max_size: int = 4, max_idle: float = 600.0) -> None:
        """At most `max_size` connections at once; one that was not needed for `max_idle` seconds is closed."""
        self.settings = settings
        self._max_size = max_size
        self._max_idle = max_idle
        self._address: Address | None = None
        self._pool: ConnectionPool[Connection] | None = None
        self._refusals = 0
        self._spare: deque[Connection] = deque()  # whose pop is atomic: threads share a Database

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

    def open(self) -> None:
        """Connects once, so that an unreachable database is noticed here, and opens the pool."""
        self._address = Address.of(self.settings)
        try:
            with self.connect():
                pass
            self._pool = ConnectionPool(
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
            self._pool.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes all connections, and gives up the embedded server; safe to call twice."""
        if self._pool is not None:
            self._pool.close(timeout=1)  # one of its tasks may wait for a database that does not answer
        while self._spare:
            self._spare.pop().close()
        if self._address is not None:
            self._address.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def run(self, call: Call[T]) -> T:
        """Runs one Call and returns its decoded answer."""
        with translated(self.dsn), self._connection() as connection:
            cursor = connection.execute(call.sql, call.args)
            rows = cursor.fetchall()
        return call.decode(rows)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection for a call."""
        with self._lend() as connection:
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                self._distrust(connection)
                raise

    def _distrust(self, connection: Connection) -> None:
        """Sees to it that calls go elsewhere: after a failover the address may lead to another server."""
        connection.close()

    @contextmanager
    def _lend(self) -> Iterator[Connection]:
        """A connection of the pool's."""
        if self._pool is None:
            raise RuntimeError("not open yet: use it as a context manager, or call open() first")
        connection = self._take(self._pool)
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def _take(self, pool: ConnectionPool[Connection]) -> Connection:
        """Waits while all are in use, but not for a database that refuses connections."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while True:
            refusals = self._refusals
            try:
                return pool.getconn(timeout=_LOOK)
            except PoolTimeout:
                if self._refusals > refusals:
                    with self.connect():  # raises the reason, which the pool keeps to itself
                        continue
                if time.monotonic() > deadline:
                    raise

    def _count_refusal(self, _: object) -> None:
        self._refusals += 1

    def _check(self, connection: Connection) -> None:
        """Sorts out a connection that has ended while it was idle; all others are suspected, too, and made anew."""
        if has_ended(connection):
            connection.close()
            if self._pool is not None:
                self._pool.drain()
            raise psycopg.OperationalError("the connection has ended")

    def connect(self, dsn: str | None = None) -> Connection:
        """A connection of one's own, in autocommit (for LISTEN, say)."""
        with translated(dsn or self.dsn):
            connection = psycopg.Connection.connect(dsn or self.dsn, autocommit=True)
            try:
                _configure(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def listening(self, *channels: str) -> Connection:
        """A connection of one's own that listens on these channels, at PGFLOW_LISTEN_URL where one is set."""
        dsn = self.settings.listen_dsn or self.dsn
        with translated(dsn):
            connection = self.connect(dsn)
            try:
                _listen(connection, channels)
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def listen(self, *channels: str) -> Iterator[Connection]:
        """A connection that listens on these channels, at PGFLOW_LISTEN_URL where one is set.

        Outside the pool, which a few that wait would exhaust; the last one used is kept for the next who listens.
        """
        dsn = self.settings.listen_dsn or self.dsn
        with translated(dsn):
            connection = self._spare_or_new(dsn)
            try:
                _listen(connection, channels)
                yield connection
                connection.execute("unlisten *")
            except BaseException:
                connection.close()
                raise
            if self._spare or self._pool is None or self._pool.closed:  # nobody would close it
                connection.close()
            else:
                self._spare.append(connection)

    def _spare_or_new(self, dsn: str) -> Connection:
        if self.is_closed:
            raise PoolClosed
        while self._spare:
            try:
                connection = self._spare.pop()
            except IndexError:  # another thread was quicker
                break
            if not has_ended(connection):
                return connection
            connection.close()
        return self.connect(dsn)


def _listen(connection: Connection, channels: Iterable[str]) -> None:
    for channel in channels:
        connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(channel)))


def _configure(connection: Connection) -> None:
    """Behind a pooler, which invents the pid it tells, a statement may run elsewhere than where it was prepared.

    Whatever the database's default, who waited for a lock must see what its holder did.
    """
    prepare(connection)
    cursor = connection.execute("select pg_backend_pid(), current_setting('default_transaction_isolation')")
    pid, isolation = cursor.fetchone() or (None, None)
    if pid != connection.info.backend_pid:
        connection.prepare_threshold = None
    elif isolation != "read committed":
        connection.execute("set default_transaction_isolation to 'read committed'")


def _configure_pooled(connection: Connection) -> None:
    _configure(connection)
    # a pooler may let us hear what another of its clients listened to: psycopg would keep that for ever
    connection.add_notify_handler(_ignore)


def _ignore(_: object) -> None: ...
