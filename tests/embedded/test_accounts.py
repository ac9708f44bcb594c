"""The private server works for root and for ordinary users, each on their own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgflow
from pgflow import embedded
from pgflow.embedded import binaries
from tests.embedded.support import end, is_alive, needs_root, postmaster, spawn, user_of
from tests.support import eventually, value

pytestmark = [needs_root, pytest.mark.slow]


@pytest.fixture
def ordinary(embedded_directory: Path) -> Iterator[dict[str, Any]]:
    """How to run Python as an ordinary user, whose home is beside the embedded directory."""
    service = binaries.service_account()
    user = next(u for u in map(pwd.getpwnam, ("nobody", "daemon")) if service is None or u.pw_name != service.name)
    home = embedded_directory.parent / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    paths = [str(Path(pgflow.__file__).parents[1]), sysconfig.get_path("platlib")]
    how = {
        "user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/",
        "env": {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(paths)},
    }  # fmt: skip
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            done = subprocess.run([python, "-c", "import pgflow, psycopg_binary"], check=False, **how)
        except OSError:
            continue
        if done.returncode == 0:
            yield {"python": python, **how}
            return
    pytest.skip(f"no Python {version} here that an ordinary user can run (tried {sys.executable} and /usr)")


def test_root_runs_the_server_as_an_ordinary_user(embedded_directory: Path) -> None:
    with embedded.start(embedded_directory, durable=False):
        assert Path(f"/proc/{postmaster(embedded_directory)}").stat().st_uid != 0
        assert (embedded_directory / "data").stat().st_uid != 0
        assert (embedded_directory / "password").stat().st_uid == 0


def test_an_ordinary_user_gets_a_server_of_its_own_in_its_data_directory(ordinary: dict[str, Any]) -> None:
    directory = Path(ordinary["env"]["HOME"]) / ".local/share/pgflow"
    with user_of("", **ordinary) as (_, dsn):
        pid = postmaster(directory)
        assert Path(f"/proc/{pid}").stat().st_uid == ordinary["user"]
        assert {path.stat().st_uid for path in directory.rglob("*")} == {ordinary["user"]}
        assert directory.stat().st_mode & 0o777 == 0o700
        with psycopg.connect(dsn) as conn:
            assert value(conn, "select current_database()") == "pgflow"
    eventually(lambda: not is_alive(pid))


def test_an_ordinary_users_killed_server_recovers(ordinary: dict[str, Any]) -> None:
    directory = Path(ordinary["env"]["HOME"]) / "data"
    with user_of(directory, **ordinary):
        os.kill(postmaster(directory), 9)
        with user_of(directory, **ordinary) as (_, dsn), psycopg.connect(dsn) as conn:
            assert value(conn, "select 1") == 1
        pid = postmaster(directory)
    eventually(lambda: not is_alive(pid))


_REFUSED = """
import sys
from pathlib import Path
from pgflow import embedded, errors
try:
    embedded.start(Path(sys.argv[1]))
except errors.EmbeddedError as error:
    print(error)
"""


def test_an_ordinary_user_is_told_that_a_directory_is_read_only(ordinary: dict[str, Any]) -> None:
    home = Path(ordinary["env"]["HOME"])
    home.chmod(0o555)
    said = end(spawn(_REFUSED, home / "data", **ordinary))
    assert said.startswith(f"cannot write to {home / 'data'} (Permission denied): set PGFLOW_EMBEDDED_DIR")
    (home / "empty").mkdir(mode=0o555)
    said = end(spawn(_REFUSED, home / "empty", **ordinary))
    assert said.startswith(f"cannot write to {home / 'empty'} (")


def test_an_ordinary_user_does_not_get_at_roots_server(ordinary: dict[str, Any], used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False) as server:
        said = end(spawn(_REFUSED, used_directory, **ordinary))
        assert said.startswith(f"cannot write to {used_directory} (")
        connect = "import psycopg, sys\ntry: psycopg.connect(sys.argv[1])\nexcept psycopg.Error as error: print(error)"
        assert "Permission denied" in end(spawn(connect, server.dsn, **ordinary))


def test_a_user_without_a_name_is_told_what_postgresql_wants(ordinary: dict[str, Any]) -> None:
    uid = 54321
    home = Path(ordinary["env"]["HOME"])
    os.chown(home, uid, uid)
    said = end(spawn(_REFUSED, home / "data", **{**ordinary, "user": uid, "group": uid}))
    assert f"uid {uid} has none: add it to /etc/passwd" in said
    assert not (home / "data").exists()
