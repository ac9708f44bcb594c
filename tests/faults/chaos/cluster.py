"""A PostgreSQL to be maltreated: stopped, restarted, its clock shifted, its disk filled."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from pgflow.embedded import binaries

#: Whole after a crash of its processes, which is all that happens to it.
_SETTINGS = """
listen_addresses = ''
max_connections = 200
shared_buffers = 64MB
dynamic_shared_memory_type = posix
fsync = off
max_wal_size = 32MB
min_wal_size = 8MB
jit = off
log_line_prefix = '%m [%p] '
"""


class Cluster:
    """A cluster in `folder`; its data may be on a file system of its own, and `environment` may bend its clock."""

    def __init__(self, folder: Path, data: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._data = data
        self._environment = environment
        self._account = binaries.service_account()
        self._programs = binaries.find(binaries.package(), folder, self._account)
        self.log = folder / "server.log"
        self.dsn = make_conninfo(host=str(folder), port=5432, user="postgres", dbname="postgres")

    def create(self) -> None:
        for path in (self._folder, self._data):
            self._give(path)
        self._run("initdb", "-D", str(self._data / "cluster"), "-U", "postgres", "--wal-segsize=1", "--no-sync",
                  "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions")  # fmt: skip
        with (self._data / "cluster" / "postgresql.conf").open("a") as settings:
            settings.write(f"{_SETTINGS}unix_socket_directories = '{self._folder}'\n")
        self.start()

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def start(self) -> None:
        self._run("pg_ctl", "start", "-D", str(self._data / "cluster"), "-l", str(self.log), "-w", "-t", "60", "-s",
                  environment=self._environment)  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        with suppress(subprocess.CalledProcessError):  # it may be down already
            self._run("pg_ctl", "stop", "-D", str(self._data / "cluster"), "-m", mode, "-w", "-t", "60", "-s")

    def is_up(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        credentials: dict[str, Any] = {}
        if self._account is not None:
            credentials = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        subprocess.run(
            [str(self._programs / program), *arguments],
            env={"PATH": os.defpath, "LC_ALL": "C", **(environment or {})},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # a pipe would stay open as long as the server
            check=True,
            timeout=120,
            **credentials,
        )
