"""Starting and sharing the private server."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import weakref
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from pgflow import config
from pgflow.embedded import binaries, watchdog
from pgflow.embedded.binaries import Account
from pgflow.embedded.directory import Directory, default_directory, give_to
from pgflow.errors import EmbeddedError

_START_SECONDS = 60
_DATABASE = "pgflow"
_SETTINGS = """\
# Written by pgflow at every start; changes here are lost.
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
dynamic_shared_memory_type = posix
max_wal_size = 1GB
jit = off
log_min_messages = warning
log_line_prefix = '%m [%p] '
"""
_NOT_DURABLE = """\
fsync = off
synchronous_commit = off
full_page_writes = off
"""
#: The lines of a log that say why a start failed.
_COMPLAINT = re.compile(r"FATAL:|PANIC:|HINT:|could not")


class _Response(IntEnum):
    """What pg_isready says."""

    ACCEPTS = 0
    REJECTS = 1  # it is coming up, or going down
    NONE = 2


def start(directory: Path | None = None, *, port: int | None = None, durable: bool = True) -> Server:
    """Starts the private server of a data directory, or joins its users if it runs already.

        with start(Path("/tmp/mydata")) as server:
            print(server.dsn)

    `port` opens it on 127.0.0.1 too, with a password (0: any free port); `durable=False` is for tests: faster, and
    what was written may be lost when the machine (not the server) crashes. Both count for who starts it.
    Raises EmbeddedError, in one line that says what to do.
    """
    account = binaries.service_account()
    place = Directory(directory or config.load().embedded_dir or default_directory())
    package = binaries.package()
    place.prepare(account)
    if account is not None and not binaries.is_reachable(place.path, account):
        raise EmbeddedError(
            f"{place.path} is not within reach of the user {account.name}, who runs the server: "
            "set PGFLOW_EMBEDDED_DIR to a directory whose parents everybody may enter"
        )
    with place.starting():
        return _Launcher(place, binaries.find(package, place.path, account), account).join(port, durable)


class Server:
    """One use of a private server: as long as it is open, the server runs.

    `dsn` leads to its database `pgflow` through a Unix socket; `tcp_dsn` through 127.0.0.1, if it is open there.
    """

    def __init__(self, place: Directory, descriptor: int) -> None:
        self.directory = place.path
        self.log_path = place.log
        lines = (place.data / "postmaster.pid").read_text().splitlines()
        self._port, self._sockets, self._listen = lines[3], lines[4], lines[5]
        self._password = place.password
        # also at interpreter exit, and when nobody refers to this object any more
        self.close = weakref.finalize(self, os.close, descriptor)

    @property
    def dsn(self) -> str:
        return self.dsn_for(_DATABASE)

    @property
    def tcp_dsn(self) -> str | None:
        if not self._listen.strip("* "):
            return None
        password = quote(self._password.read_text().strip(), safe="")
        return f"postgresql://postgres:{password}@127.0.0.1:{self._port}/{_DATABASE}"

    def dsn_for(self, database: str) -> str:
        """The address of another database of this server."""
        return f"postgresql://postgres@/{database}?host={quote(self._sockets, safe='')}&port={self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class _Launcher:
    """What it takes to bring a server up; lives for one `start`, which nobody else does meanwhile."""

    def __init__(self, place: Directory, programs: Path, account: Account | None) -> None:
        self.place = place
        self.programs = programs
        self.account = account

    def join(self, port: int | None, durable: bool) -> Server:
        descriptor = self.place.hold()
        try:
            # Before there is a server, so that it is stopped even if we are killed the next moment.
            if not self.place.is_watched():
                self.post_watchdog()
            if (lock := self.await_server()) is not None:
                try:
                    self.initialise(lock)
                    self.launch(lock, port, durable)
                finally:
                    os.close(lock)
            return Server(self.place, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def await_server(self) -> int | None:
        """None once the server answers; the lock to start it under once nothing of an earlier one is left.

        A server whose starter was killed may still be coming up; the last processes of one that was killed
        itself need a moment to notice.
        """
        deadline = time.monotonic() + _START_SECONDS
        while (response := self.response()) is not _Response.ACCEPTS:
            if response is _Response.NONE and (lock := self.place.try_own_server()) is not None:
                return lock
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"an earlier PostgreSQL in {self.place.path} neither answers nor ends (log: {self.place.log}): "
                    "stop its processes"
                )
            time.sleep(0.05)
        return None

    def response(self) -> _Response:
        """How the server answers at its socket. Its pid says nothing: another process may have got it."""
        try:
            lines = (self.place.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return _Response.NONE
        if len(lines) < 6:  # still being written
            return _Response.NONE
        asked = self.run("pg_isready", "-q", "-h", lines[4], "-p", lines[3], "-U", "postgres", "-d", "postgres")
        return _Response(min(asked.returncode, _Response.NONE))

    def run(
        self, program: str, *arguments: str, text: str | None = None, lock: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One of PostgreSQL's programs, as the server's user, without our environment and with no lock but this."""
        return subprocess.run(  # noqa: S603  # a program of the wheel, with fixed arguments
            [str(self.programs / program), *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.place.path,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            timeout=_START_SECONDS * 2,
            pass_fds=() if lock is None else (lock,),
            **self._credentials(),
        )

    def _credentials(self) -> dict[str, Any]:
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}

    # -- the first time

    def initialise(self, lock: int) -> None:
        """Makes the cluster and its database, whole or not at all."""
        if self.place.data.exists():
            self._check_version()
            return
        partial = self.place.path / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a start that was killed
        partial.mkdir(mode=0o700)
        give_to(partial, self.account)
        password = self._make_password()
        self._must(
            self.run(
                "initdb", f"--pgdata={partial}", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8",
                "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}",
                "--no-sync", "--no-instructions", lock=lock,
            ),
            "initdb failed",
        )  # fmt: skip
        password.chmod(0o600)
        if self.account is not None:
            os.chown(password, 0, 0)
        self._must(
            self.run(
                "postgres", "--single", "-D", str(partial), "postgres",
                text=f"create database {_DATABASE}\n", lock=lock,
            ),
            "creating the database failed",
        )  # fmt: skip
        partial.rename(self.place.data)

    def _make_password(self) -> Path:
        """Readable for initdb until it has been used, then for us alone."""
        path = self.place.password
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n")
        give_to(path, self.account)
        return path

    def _check_version(self) -> None:
        try:
            version = (self.place.data / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise EmbeddedError(
                f"{self.place.data} is no PostgreSQL data directory ({error.strerror}): "
                "set PGFLOW_EMBEDDED_DIR to another directory, or remove this one if its data may go"
            ) from error
        if version != binaries.MAJOR_VERSION:
            raise EmbeddedError(
                f"{self.place.data} was made by PostgreSQL {version}, the embedded one is "
                f"{binaries.MAJOR_VERSION}: set PGFLOW_EMBEDDED_DIR to another directory (pg_upgrade moves the data)"
            )

    # -- every time

    def launch(self, lock: int, port: int | None, durable: bool) -> None:
        # We own the server's lock, so these are of a dead one; their pid may be somebody else's by now.
        (self.place.data / "postmaster.pid").unlink(missing_ok=True)
        settings = _SETTINGS.format(
            listen="" if port is None else "127.0.0.1",
            port=_free_port() if port == 0 else port or 5432,
            sockets=self._empty_socket_folder(),
        )
        (self.place.data / "postgresql.conf").write_text(settings + ("" if durable else _NOT_DURABLE))
        self.place.log.touch(mode=0o600)
        give_to(self.place.log, self.account)
        said_before = self.place.log.stat().st_size
        # Relative, since pg_ctl puts them into a shell's command without minding their characters.
        started = self.run(
            "pg_ctl", "start", "-D", self.place.data.name, "-l", self.place.log.name,
            "-w", "-t", str(_START_SECONDS), "-s", lock=lock,
        )  # fmt: skip
        if started.returncode != 0:
            raise EmbeddedError(f"the embedded PostgreSQL does not start: {self._complaints(said_before)}")

    def _empty_socket_folder(self) -> Path:
        folder = self.place.make_socket_folder(self.account)
        for stale in folder.glob(".s.PGSQL.*"):
            stale.unlink()
        return folder

    def post_watchdog(self) -> None:
        """Outlives us: no output of ours, no session of ours, no lock of ours."""
        account = [str(self.account.uid), str(self.account.gid)] if self.account else ["", ""]
        subprocess.run(  # noqa: S603  # our own script, which goes on in a process of its own
            [
                sys.executable, "-I", "-S", watchdog.__file__, str(self.place.path), *account,
                str(self.programs / "pg_ctl"), "stop", "-D", str(self.place.data), "-m", "fast", "-s",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self.place.path, env={"PATH": os.defpath}, start_new_session=True, check=False, timeout=_START_SECONDS,
        )  # fmt: skip

    def _must(self, done: subprocess.CompletedProcess[str], what: str) -> None:
        if done.returncode != 0:
            raise EmbeddedError(f"{what}: {' | '.join((done.stderr or done.stdout).strip().splitlines()[-2:])}")

    def _complaints(self, offset: int) -> str:
        """What the log says of a start that failed, in one line."""
        said = self.place.log.read_bytes()[offset:].decode(errors="replace").splitlines()
        return f"{' | '.join(line for line in said if _COMPLAINT.search(line))} (log: {self.place.log})"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
