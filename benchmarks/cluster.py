"""The throw-away PostgreSQL that is measured on, and what it says of its own work."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pgflow import embedded

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Counters at one moment; a difference of two is what was used between."""

    cpu_seconds: float
    wal_bytes: int

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds - other.cpu_seconds, self.wal_bytes - other.wal_bytes)


class Cluster:
    """A private server with everything durable, and a fresh database for every measurement."""

    def __init__(self, server: embedded.Server) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._admin = psycopg.connect(server.dsn_for("postgres"), autocommit=True)
        self._postmaster = int((server.directory / "data" / "postmaster.pid").read_text().splitlines()[0])

    def close(self) -> None:
        self._admin.close()

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new, empty database."""
        name = f"bench_{next(self._numbers)}"
        self._admin.execute(f"create database {name}")
        try:
            yield self._server.dsn_for(name)
        finally:
            self._admin.execute(f"drop database {name} with (force)")

    def settle_down(self) -> None:
        """Has everything written that came before, so that nobody pays for somebody else's pages."""
        self._admin.execute("checkpoint")

    def usage(self) -> Usage:
        lsn = self._value("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return Usage(cpu_seconds(self._postmaster), int(lsn))

    def transactions(self, dsn: str) -> int:
        """How many transactions a database has seen, rolled back ones too. Its sessions report with a delay."""
        return int(
            self._value("select xact_commit + xact_rollback from pg_stat_database where datname = %s", _name(dsn))
        )

    def connections(self, dsn: str) -> int:
        return int(self._value("select count(*) from pg_stat_activity where datname = %s", _name(dsn)))

    def settings(self) -> dict[str, str]:
        """The server's version and the settings that decide how much it writes."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
        return {name: str(self._value("select current_setting(%s)", name)) for name in names}

    def _value(self, query: str, *parameters: object) -> object:
        row = self._admin.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def start(parent: Path | None = None) -> Iterator[Cluster]:
    """Starts a server in a new folder and removes both in the end."""
    folder = Path(tempfile.mkdtemp(prefix="pgflow-bench-", dir=parent or "/tmp"))  # noqa: S108  # short, for the socket
    folder.chmod(0o755)  # for the user who runs the server
    directory = folder / "server"
    try:
        with embedded.start(directory, durable=True) as server:
            cluster = Cluster(server)
            try:
                yield cluster
            finally:
                cluster.close()
    finally:
        _await_stop(directory)
        shutil.rmtree(folder, ignore_errors=True)


def _await_stop(directory: Path) -> None:
    """Waits for the last process of the server: one whose files vanish would linger."""
    lock = directory / "server.lock"
    if lock.is_file():
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)


def _name(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, of its children and of those it has reaped; 0 where there is no /proc."""
    while True:
        children = _children(pid)
        try:
            total = _times(pid) + sum(cpu_seconds(child) for child in children)
        except FileNotFoundError:
            return 0.0
        # A child that ended while we looked would be counted twice, or not at all.
        if _children(pid) == children:
            return total


def _times(pid: int) -> float:
    # The name, in parentheses, may hold anything; utime, stime, cutime and cstime are fields 14 to 17.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:15])) / _TICKS


def _children(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, tasks.read_text().split())
        except FileNotFoundError:  # a thread that ended meanwhile
            continue
    return found
