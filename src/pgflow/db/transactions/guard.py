"""How a task's own transaction may end, and what its handler must not have done to it."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from pgflow.errors import Permanent


class NotBegun(Exception):
    """There was no connection to begin with: the handler was not called."""


class ResultRefused(Exception):
    """The database cannot store the result, and nothing was committed; `__cause__` says why."""


class CommitUnknown(Exception):
    """The answer to COMMIT was lost: all was committed, or nothing."""


class TransactionMisused(Permanent):
    """The handler ended the transaction, or closed the connection, which were not its own."""


class TransactionAborted(Exception):
    """The handler went on after one of its statements had failed."""


ENDED = (
    "the handler ended its task's transaction (by COMMIT or ROLLBACK), which is not the handler's to end: for a part "
    "that may fail use ctx.connection.transaction()"
)
_CLOSED = "the handler closed ctx.connection, which is not the handler's to close"
_ABORTED = (
    "a statement of the handler's failed and the handler went on, so that nothing can be committed: put what may fail "
    "into a ctx.connection.transaction() block"
)


def check(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """Raises if the handler has left the connection so that its result cannot be settled there."""
    if connection.closed and not connection.broken:
        raise TransactionMisused(_CLOSED)
    status = connection.info.transaction_status
    if status == TransactionStatus.IDLE:
        raise TransactionMisused(ENDED)
    if status == TransactionStatus.INERROR:
        raise TransactionAborted(_ABORTED)
