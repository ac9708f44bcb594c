"""A throw-away Redis of Debian's, for the engines that keep their work there, and what it says of its own work."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import cpu_seconds
from environments import NotAvailable

_START_SECONDS = 20


class Redis:
    """A private server with the settings that it comes with, on a socket of its own."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process = process
        self._path = path

    @contextmanager
    def database(self, *, logs_statements: bool = False) -> Iterator[str]:
        """The address of an empty Redis."""
        self.ask("FLUSHALL")
        yield f"redis+socket://{self._path}"

    def settle_down(self) -> None:
        """It writes in the background, and whenever it likes."""

    def usage(self) -> dict[str, float]:
        return {"cpu_seconds": cpu_seconds(self._process.pid)}

    def traffic(self, _address: str) -> dict[str, float]:
        """It counts nothing that compares with rows and pages."""
        return {}

    def await_quiet(self, _address: str) -> None:
        """Its counters wait for nobody."""

    def connections(self, _address: str) -> int:
        return self._number("clients", "connected_clients") - 1

    @contextmanager
    def statements(self, _address: str) -> Iterator[list[str]]:
        """What it is asked meanwhile; it only counts, so each command is an empty string here."""
        asked: list[str] = []
        before = self._number("stats", "total_commands_processed")
        yield asked
        asked += [""] * (self._number("stats", "total_commands_processed") - before - 1)

    def _number(self, section: str, name: str) -> int:
        said = dict(line.split(":", 1) for line in self.ask(f"INFO {section}").splitlines() if ":" in line)
        return int(said[name])

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._path))
            connection.sendall(f"{command}\r\nQUIT\r\n".encode())
            parts = iter(lambda: connection.recv(65536), b"")
            return b"".join(parts).decode()


@contextmanager
def start() -> Iterator[Redis]:
    """Starts a server in a new folder and removes both in the end; raises NotAvailable."""
    program = shutil.which("redis-server")
    if program is None:
        raise NotAvailable("there is no redis-server")
    folder = Path(tempfile.mkdtemp(prefix="pgflow-bench-redis-"))
    path = folder / "socket"
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--daemonize", "no"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await_start(path, folder / "log")
        yield Redis(process, path)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _await_start(path: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise NotAvailable(f"redis-server does not start: {log.read_text()[-200:]}")
        time.sleep(0.05)
