"""Ends a transaction from outside, whatever its handler does."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection, capabilities
from psycopg.pq import PollingStatus
from psycopg.pq.abc import PGcancelConn

#: Seconds for asking the server to cancel. It may be the very network that is away.
_CANCEL_SECONDS = 5.0


class Leash:
    """Held by who waits for a handler; `cut` is safe to call from any thread, at any time.

    leash = Leash()
    with leash.on(connection): ...      # in the handler's thread
    leash.cut()                         # in another
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection[Any] | AsyncConnection[Any] | None = None
        self._is_cut = False

    @contextmanager
    def on(self, connection: Connection[Any] | AsyncConnection[Any]) -> Iterator[None]:
        with self._lock:
            if self._is_cut:
                raise psycopg.OperationalError("nobody waits for this task any more")
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def cut(self) -> None:
        """Takes the session off the server, which rolls back; does nothing once the connection was given back.

        Not by closing the connection, which another thread may be waiting on; a statement that runs is cancelled too,
        since the server would notice only at its end.
        """
        with self._lock:
            self._is_cut = True
            if self._connection is None or self._connection.closed:
                return
            session = self._connection.pgconn
            # libpq before 17 can only cancel while it holds up every thread of this process: then the server
            # notices at the statement's end
            canceller = session.cancel_conn() if capabilities.has_cancel_safe() else None
            with suppress(OSError), socket.socket(fileno=os.dup(session.socket)) as line:
                line.shutdown(socket.SHUT_RDWR)
        if canceller is not None:
            with suppress(psycopg.Error):
                _cancel(canceller)


def _cancel(canceller: PGcancelConn) -> None:
    """Has the server cancel what the session runs; returns when it has been told, or it takes too long."""
    deadline = time.monotonic() + _CANCEL_SECONDS
    try:
        canceller.start()
        # asked before the socket is ready, libpq would wait for it, and with it this whole process
        while (event := _EVENTS.get(canceller.poll())) and _is_ready(canceller.socket, event, deadline):
            pass
    finally:
        canceller.finish()


def _is_ready(socket_: int, event: int, deadline: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(socket_, event)
        return bool(selector.select(max(deadline - time.monotonic(), 0)))


#: What is waited for, by libpq's word for it.
_EVENTS: dict[int, int] = {
    PollingStatus.READING: selectors.EVENT_READ,
    PollingStatus.WRITING: selectors.EVENT_WRITE,
}
