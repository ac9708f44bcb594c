"""The data directory: what is in it, whose it is, and the locks through which its users know of each other."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgflow.embedded.binaries import Account
from pgflow.errors import EmbeddedError

#: PostgreSQL's limit for the path of a Unix socket is 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 103
#: What separates, quotes or escapes in PostgreSQL's list of socket folders, or in libpq's list of hosts.
_NOT_IN_SOCKET_PATH = ",\"'\\\n"
_MARKER = "pgflow-embedded"


def default_directory() -> Path:
    """The user's data directory for pgflow; /var/lib/pgflow for root."""
    if os.geteuid() == 0:
        return Path("/var/lib/pgflow")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pgflow"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pgflow"


class Directory:
    """Names of what lies in a data directory. Nothing outside it is ever changed.

    users.lock      held shared by every user, for as long as it uses the server
    start.lock      held exclusively while the server is started or stopped
    server.lock     held by PostgreSQL's own processes, which inherit it: free when none of them is left
    watchdog.lock   held by the process that stops the server when its last user is gone
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.log = self.path / "server.log"
        self.password = self.path / "password"
        self.users_lock = self.path / "users.lock"
        self.start_lock = self.path / "start.lock"
        self.server_lock = self.path / "server.lock"
        self.watchdog_lock = self.path / "watchdog.lock"

    def prepare(self, account: Account | None) -> None:
        """Makes the directory, or checks that it is ours.

        Raises EmbeddedError if it is somebody else's or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            marker = self.path / _MARKER
            if not marker.exists():
                # Asked again: another process may be making it; the marker is the first thing in it.
                if any(self.path.iterdir()) and not marker.exists():
                    raise EmbeddedError(
                        f"{self.path} is not empty and not a data directory of pgflow: "
                        "set PGFLOW_EMBEDDED_DIR to another one"
                    )
                self.path.chmod(0o711 if account else 0o700)
                marker.write_text("The private PostgreSQL of pgflow (https://pypi.org/project/py-pgflow).\n")
            for lock in (self.users_lock, self.start_lock, self.server_lock, self.watchdog_lock):
                lock.touch(exist_ok=True)
        except OSError as error:
            raise EmbeddedError(
                f"cannot write to {self.path} ({error.strerror}): set PGFLOW_EMBEDDED_DIR to a directory you may "
                "write to, or PGFLOW_DATABASE_URL to a PostgreSQL"
            ) from error

    def make_socket_folder(self, account: Account | None) -> Path:
        """A folder only its owner may enter, with a path fit for a socket; `socket` is it or leads there."""
        folder = self.path / "socket"
        if folder.is_symlink():
            shutil.rmtree(folder.readlink(), ignore_errors=True)
            folder.unlink()
        if self._fits_a_socket(folder):
            folder.mkdir(exist_ok=True)
        else:
            link, folder = folder, Path(tempfile.mkdtemp(prefix="pgflow-"))
            link.symlink_to(folder)
        give_to(folder, account)
        folder.chmod(0o700)
        return folder

    def _fits_a_socket(self, folder: Path) -> bool:
        is_short = len(os.fsencode(folder / ".s.PGSQL.65535.lock")) <= _LONGEST_SOCKET_PATH
        return is_short and not any(character in str(folder) for character in _NOT_IN_SOCKET_PATH)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Nobody else starts or stops the server meanwhile."""
        with locked(self.start_lock, fcntl.LOCK_EX):
            yield

    def hold(self) -> int:
        """Becomes a user: a descriptor whose closing, by whatever end, gives the use up.

        A forked child shares it, and so remains a user; what is executed anew does not inherit it.
        """
        descriptor = os.open(self.users_lock, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def try_own_server(self) -> int | None:
        """A descriptor of server.lock, for PostgreSQL's processes to inherit; None while earlier ones live."""
        descriptor = os.open(self.server_lock, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_watched(self) -> bool:
        """Whether a watchdog lives."""
        try:
            with locked(self.watchdog_lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return False
        except BlockingIOError:
            return True


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """A flock on a file, for as long as the block lasts."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def give_to(path: Path, account: Account | None) -> None:
    """Makes the server's user the owner, where it is another one."""
    if account is not None:
        os.chown(path, account.uid, account.gid)
