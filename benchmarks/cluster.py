"""The throw-away PostgreSQL that is measured on, and what it says of its own work."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from pgflow import embedded

_TICKS = os.sysconf("SC_CLK_TCK")
#: A line of the log that tells of a statement, by either protocol.
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]+): (.*)")


class Cluster:
    """A private server with everything durable, and a fresh database for every measurement.

    `usage` and `traffic` are counters at one moment: a difference of two is what was used between.
    """

    def __init__(self, server: embedded.Server) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._kept: dict[Hashable, str] = {}
        self._admin = psycopg.connect(server.dsn_for("postgres"), autocommit=True)
        self._postmaster = int((server.directory / "data" / "postmaster.pid").read_text().splitlines()[0])

    def close(self) -> None:
        self._admin.close()

    @contextmanager
    def database(self, *, logs_statements: bool = False) -> Iterator[str]:
        """The address of a new, empty database."""
        name = self._create()
        if logs_statements:
            self._admin.execute(f"alter database {name} set log_statement = 'all'")
        try:
            yield self._server.dsn_for(name)
        finally:
            self._admin.execute(f"drop database {name} with (force)")

    def kept(self, what: Hashable, fill: Callable[[str], None]) -> str:
        """The address of a database that is filled once and lives as long as the server."""
        if what not in self._kept:
            dsn = self._server.dsn_for(self._create())
            fill(dsn)
            self._kept[what] = dsn
        return self._kept[what]

    def _create(self) -> str:
        name = f"bench_{next(self._numbers)}"
        self._admin.execute(f"create database {name}")
        return name

    def settle_down(self) -> None:
        """Has everything written that came before, so that nobody pays for somebody else's pages."""
        self._admin.execute("checkpoint")

    def usage(self) -> dict[str, float]:
        """Of the whole server, and exact at once. Only transactions that wrote have a number."""
        lsn, transaction = self._row(
            "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
        return {"cpu_seconds": cpu_seconds(self._postmaster), "wal_bytes": float(lsn), "commits": float(transaction)}

    def traffic(self, dsn: str) -> dict[str, float]:
        """Of one database: rows written and pages touched. Its sessions report late, at their end for certain."""
        buffers, rows = self._row(
            "select blks_hit + blks_read, tup_inserted + tup_updated + tup_deleted "
            "from pg_stat_database where datname = %s",
            _name(dsn),
        )
        return {"buffers": float(buffers), "rows": float(rows)}

    def await_quiet(self, dsn: str) -> None:
        """Waits until nobody is connected to a database."""
        while self.connections(dsn):
            time.sleep(0.01)

    def connections(self, dsn: str) -> int:
        (count,) = self._row("select count(*) from pg_stat_activity where datname = %s", _name(dsn))
        return int(count)

    @contextmanager
    def statements(self, _dsn: str) -> Iterator[list[str]]:
        """What the one database that logs its statements is asked meanwhile, a text per round trip."""
        asked: list[str] = []
        with self._server.log_path.open(errors="replace") as log:
            log.seek(0, os.SEEK_END)
            yield asked
            asked += _STATEMENT.findall(log.read())

    def settings(self) -> dict[str, str]:
        """The server's version and the settings that decide how much it writes."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
        return {name: str(self._row("select current_setting(%s)", name)[0]) for name in names}

    def _row(self, query: str, *parameters: object) -> tuple[Any, ...]:
        row = self._admin.execute(query, parameters).fetchone()
        assert row is not None
        return row


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


#: What is raised when one looks at a process that has just ended.
_GONE = (FileNotFoundError, ProcessLookupError)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, of its children and of those it has reaped; 0 where there is no /proc."""
    while True:
        children = _children(pid)
        try:
            own = _times(pid)
        except _GONE:
            return 0.0
        total = own + sum(map(cpu_seconds, children))
        # A child that ended while we looked would be counted twice, or not at all.
        if _children(pid) == children:
            return total


def _times(pid: int) -> float:
    # The name, in parentheses, may hold anything; utime, stime, cutime and cstime are fields 14 to 17.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:15])) / _TICKS


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(*_GONE):  # a process or a thread that ended meanwhile
        for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, tasks.read_text().split())
    return found
