"""A real PgBouncer in front of a PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support import eventually

PROGRAM = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin")
SETTINGS = """\
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 4
"""


@contextmanager
def pooled(dsn: str, *, mode: str = "transaction") -> Iterator[str]:
    """The address of a PgBouncer that leads to `dsn` by at most four connections of its own."""
    if PROGRAM is None:
        pytest.skip("needs pgbouncer: `make test-slow` installs it where there is apt-get")
    target = {"host": "127.0.0.1", "port": "5432", "user": "postgres"} | conninfo_to_dict(dsn)
    directory = Path(tempfile.mkdtemp(prefix="pgflow-pgbouncer-", dir="/tmp"))
    settings = directory / "pgbouncer.ini"
    listen = _free_port()
    settings.write_text(SETTINGS.format(**target | {"listen": listen, "mode": mode}))
    for path, right in ((directory, 0o755), (settings, 0o644)):
        path.chmod(right)
    with subprocess.Popen(
        [PROGRAM, str(settings)], stderr=subprocess.DEVNULL, **_as_who_may_enter(str(target["host"]))
    ) as running:
        try:
            address = make_conninfo(dsn, host="127.0.0.1", port=listen)
            eventually(lambda: running.poll() is None and _answers(address))
            yield address
        finally:
            running.kill()
            shutil.rmtree(directory)


def _as_who_may_enter(host: str) -> dict[str, object]:
    """PgBouncer refuses to run as root, and the server's socket is its owner's alone."""
    if os.geteuid() != 0:
        return {}
    owner = pwd.getpwuid(Path(host).stat().st_uid) if host.startswith("/") else pwd.getpwnam("nobody")
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return False
    return True
