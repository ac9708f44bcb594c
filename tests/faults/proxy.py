"""A TCP proxy in front of PostgreSQL that can be told to fail."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psycopg
from psycopg.conninfo import make_conninfo

_COMMIT = b"Q\0\0\0\x0bCOMMIT\0"


class Proxy:
    """Passes on what clients and server say; `dsn` leads through it."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as probe:
            self._host, self._server_port = probe.info.host, probe.info.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._commit_fault: Literal["lost", "unanswered"] | None = None
        self.commits_cut = 0
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    # -- faults

    def cut_next_commit(self, fault: Literal["lost", "unanswered"]) -> None:
        """The next COMMIT does not reach the server, or its answer not the client; the connection is reset."""
        self._commit_fault = fault

    def reset(self) -> int:
        """Resets all connections; returns how many there were."""
        with self._lock:
            lines, self._lines = self._lines, set()
        for line in lines:
            _reset(line)
        return len(lines) // 2

    def silence(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        self._open.clear()

    def restore(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.restore()
        self._listener.close()
        self.reset()

    # -- passing on

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._open.wait()
        try:
            server = self._connect()
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._lines |= {client, server}
        threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
        self._pass_on(server, client, False)

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._server_port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._server_port}")
        return server

    def _pass_on(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                if to_server and self._commit_fault is not None and data.endswith(_COMMIT):
                    self._fail_commit(data, source, target)
                    return
                target.sendall(data)
        with self._lock:
            self._lines -= {source, target}
        _reset(source)
        _reset(target)

    def _fail_commit(self, commit: bytes, client: socket.socket, server: socket.socket) -> None:
        fault, self._commit_fault = self._commit_fault, None
        _reset(client)
        if fault == "unanswered":
            server.sendall(commit)  # whose answer the other thread cannot hand on: it resets the server's line
        else:
            _reset(server)
        self.commits_cut += 1


def _reset(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


@contextmanager
def proxy(dsn: str) -> Iterator[Proxy]:
    running = Proxy(dsn)
    try:
        yield running
    finally:
        running.close()
