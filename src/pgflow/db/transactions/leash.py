"""Ends a transaction from outside, whatever its handler does."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection


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
            canceller = session.get_cancel()
            with suppress(OSError), socket.socket(fileno=os.dup(session.socket)) as line:
                line.shutdown(socket.SHUT_RDWR)
        with suppress(psycopg.Error):
            canceller.cancel()
