"""A pool of connections for handlers. Generated from `_async.py` by scripts/unasync.py: do not edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from pgflow import calls
from pgflow.calls import Call
from pgflow.db.errors import is_transient
from pgflow.db.transactions import guard
from pgflow.db.transactions.leash import Leash
from pgflow.records import Verdict

#: Seconds that a task waits for a connection, be it that all are in use or that the database is away.
_LONGEST_WAIT = 5.0
#: What a handler may have left behind in the session; not DISCARD ALL, after which every function is planned anew.
_CLEAN_UP = """
close all; set session authorization default; reset all; unlisten *; discard temp; discard sequences;
select pg_advisory_unlock_all()
"""


class Transactions:
    """At most `size` connections, opened when needed, each in one task's transaction at a time.

    verdict = transactions.run(work, leash)

    `work(connection)` calls the handler and returns the Call that settles its result: the transaction's last statement.
    """

    def __init__(self, dsn: str, size: int) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            min_size=0,
            max_size=size,
            timeout=_LONGEST_WAIT,
            reconnect_timeout=0,
            open=False,
            configure=_configure,
            reset=_reset,
            # behind a pooler a statement may run elsewhere than where it was prepared
            kwargs={"autocommit": True, "prepare_threshold": None},
        )

    def open(self) -> None:
        """Connects to nothing yet."""
        self._pool.open()

    def close(self) -> None:
        """Closes what is not in use; a handler that is left behind keeps its connection."""
        self._pool.close()

    def run(self, work: Callable[[Connection], Call[Verdict | None]], leash: Leash) -> Verdict:
        """The verdict; all is rolled back unless it is `applied`.

        Raises NotBegun, what `work` raises, ResultRefused, CommitUnknown, and the database's error if it refuses to
        commit (a deferred constraint, say).
        """
        has_begun = is_settled = False
        try:
            with self._pool.connection() as connection, leash.on(connection), connection.transaction():
                _execute(connection, calls.mark_transaction())
                has_begun = True
                verdict = _settle(connection, work(connection))
                if verdict != "applied":
                    raise psycopg.Rollback
                is_settled = True
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            if not has_begun:
                raise guard.NotBegun from error
            if is_settled and connection.closed:
                raise guard.CommitUnknown from error
            raise
        return verdict


def _settle(connection: Connection, settling: Call[Verdict | None]) -> Verdict:
    guard.check(connection)
    try:
        verdict: Verdict | None = _execute(connection, settling)
    except psycopg.Error as error:
        if is_transient(error):
            raise
        raise guard.ResultRefused from error
    if verdict is None:
        raise guard.TransactionMisused(guard.ENDED)
    return verdict


def _execute(connection: Connection, call: Call[Any]) -> Any:
    # a cursor of our own kind, whatever the handler made the connection's rows
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(call.sql, call.args)
        return call.decode(cursor.fetchall())


def _configure(connection: Connection) -> None:
    connection.set_isolation_level(IsolationLevel.READ_COMMITTED)


def _reset(connection: Connection) -> None:
    connection.row_factory = tuple_row
    connection.execute(_CLEAN_UP)
