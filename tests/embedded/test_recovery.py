"""What was killed, or left behind by something that was, never keeps the next start from working."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pgflow import embedded
from pgflow.embedded import binaries
from tests.embedded.support import ask_to_start, end, is_alive, needs_root, postmaster, user_of
from tests.support import eventually, value

pytestmark = pytest.mark.slow


def test_a_killed_server_recovers_at_the_next_start(used_directory: Path) -> None:
    with embedded.start(used_directory) as server:
        with psycopg.connect(server.dsn) as conn:
            conn.execute("create table recovered as select 42 as n")
        os.kill(postmaster(used_directory), signal.SIGKILL)
        with embedded.start(used_directory) as again, psycopg.connect(again.dsn) as conn:
            assert value(conn, "select n from recovered") == 42
        pid = postmaster(used_directory)
        assert is_alive(pid)
    eventually(lambda: not is_alive(pid))


def test_a_killed_server_recovers_although_a_client_has_not_noticed(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False) as server:
        unaware = psycopg.connect(server.dsn, autocommit=True)
        unaware.execute("select pg_advisory_lock(1)")
        os.kill(postmaster(used_directory), signal.SIGKILL)
        with embedded.start(used_directory, durable=False) as again, psycopg.connect(again.dsn) as conn:
            assert value(conn, "select pg_try_advisory_lock(1)")
        with pytest.raises(psycopg.OperationalError):
            unaware.execute("select 1")


def test_the_id_of_a_killed_server_may_be_somebody_elses_by_now(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False) as server:
        with psycopg.connect(server.dsn) as conn:
            owner = Path(value(conn, "show data_directory")).stat()
        dead = postmaster(used_directory)
        os.kill(dead, signal.SIGKILL)
        eventually(lambda: not is_alive(dead))
        as_server = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
        with subprocess.Popen(["sleep", "100"], **as_server) as other:  # type: ignore[call-overload]
            file = used_directory / "data" / "postmaster.pid"
            file.write_text(file.read_text().replace(str(dead), str(other.pid), 1))
            try:
                with embedded.start(used_directory) as again, psycopg.connect(again.dsn) as conn:
                    assert value(conn, "select 1") == 1
                assert is_alive(other.pid)
            finally:
                other.kill()


def _begun_initdb(directory: Path) -> bool:
    return (directory / "data.partial" / "PG_VERSION").exists()


def _begun_server(directory: Path) -> bool:
    return (directory / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("begun", [_begun_initdb, _begun_server])
def test_a_start_that_was_killed_half_way_is_taken_up_by_the_next(
    embedded_directory: Path, begun: Callable[[Path], bool]
) -> None:
    process = ask_to_start(embedded_directory)
    try:
        eventually(lambda: begun(embedded_directory))
        process.kill()
        with embedded.start(embedded_directory, durable=False) as server, psycopg.connect(server.dsn) as conn:
            assert value(conn, "select current_database()") == "pgflow"
            assert not (embedded_directory / "data.partial").exists()
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.parametrize("begun", [_begun_initdb, _begun_server])
def test_a_start_that_was_killed_half_way_leaves_no_server_behind(
    embedded_directory: Path, begun: Callable[[Path], bool]
) -> None:
    process = ask_to_start(embedded_directory)
    try:
        eventually(lambda: begun(embedded_directory))
        process.kill()
    finally:
        end(process)
    eventually(lambda: _is_free(embedded_directory / "watchdog.lock"))
    eventually(lambda: _is_free(embedded_directory / "server.lock"))
    assert not _begun_server(embedded_directory)


def _is_free(lock: Path) -> bool:
    return subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 0


def test_a_killed_watchdog_is_replaced_by_the_next_user(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False):
        pid = postmaster(used_directory)
        os.kill(_watchdog(used_directory), signal.SIGKILL)
        eventually(lambda: _is_free(used_directory / "watchdog.lock"))
        with user_of(used_directory):
            assert postmaster(used_directory) == pid
    eventually(lambda: not is_alive(pid))


def _watchdog(directory: Path) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        arguments = (process / "cmdline").read_bytes().split(b"\0") if process.exists() else []
        if len(arguments) > 4 and arguments[3].endswith(b"watchdog.py") and arguments[4] == os.fsencode(directory):
            return int(process.name)
    raise AssertionError("no watchdog")


@needs_root
@pytest.mark.slow
def test_programs_out_of_the_servers_reach_are_copied_even_under_a_closed_umask(embedded_directory: Path) -> None:
    package = binaries.package()
    closed = embedded_directory.parent / "closed"
    closed.mkdir(mode=0o700)
    (closed / package.name).symlink_to(package)
    (closed / f"{package.name}.libs").symlink_to(package.with_name(f"{package.name}.libs"))
    embedded_directory.mkdir(mode=0o755)
    environment = {**os.environ, "PYTHONPATH": str(closed)}
    processes = [ask_to_start(embedded_directory, umask=0o077, env=environment) for _ in range(3)]
    try:
        dsn = {process.stdout.readline().strip() for process in processes}  # type: ignore[union-attr]
        assert len(dsn) == 1
        with psycopg.connect(dsn.pop()) as conn:
            assert value(conn, "select 1") == 1
        program = Path(f"/proc/{postmaster(embedded_directory)}/exe").readlink()
        assert program.is_relative_to(embedded_directory)
    finally:
        for process in processes:
            end(process)
