"""Several users of one server: who starts it, and when it stops."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from pgflow import embedded
from tests.embedded.support import ask_to_start, end, is_alive, postmaster, spawn, user_of
from tests.support import eventually, value


@pytest.mark.slow
def test_ten_processes_that_start_at_once_share_one_server(embedded_directory: Path) -> None:
    processes = [ask_to_start(embedded_directory) for _ in range(10)]
    try:
        addresses = {process.stdout.readline() for process in processes}  # type: ignore[union-attr]
        pid = postmaster(embedded_directory)
        assert len(addresses) == 1, addresses
        with psycopg.connect(addresses.pop().strip()) as conn:
            assert value(conn, "select pg_postmaster_start_time() is not null")
    finally:
        for process in processes:
            end(process)
    eventually(lambda: not is_alive(pid))


def test_one_process_may_use_it_twice(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False) as first:
        with embedded.start(used_directory) as second:
            assert first.dsn == second.dsn
        psycopg.connect(first.dsn).close()


def test_closing_twice_closes_once(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False) as server:
        server.close()
        with embedded.start(used_directory) as other:
            server.close()
            psycopg.connect(other.dsn).close()


def test_a_server_nobody_refers_to_any_more_is_given_up(used_directory: Path) -> None:
    server = embedded.start(used_directory, durable=False)
    pid = postmaster(used_directory)
    del server
    eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["kill -9", "kill", "end"])
def test_the_server_stops_with_its_last_user_however_that_ended(
    used_directory: Path, how: signal.Signals | None
) -> None:
    with user_of(used_directory) as (process, _):
        pid = postmaster(used_directory)
        assert is_alive(pid)
        if how is not None:
            process.send_signal(how)
    eventually(lambda: not is_alive(pid))
    log = (used_directory / "server.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log


def test_the_server_outlives_the_user_that_started_it(used_directory: Path) -> None:
    with user_of(used_directory) as (starter, _), user_of(used_directory) as (_, dsn):
        pid = postmaster(used_directory)
        starter.kill()
        starter.wait()
        with psycopg.connect(dsn) as conn:
            assert value(conn, "select 1") == 1
        assert postmaster(used_directory) == pid
    eventually(lambda: not is_alive(pid))


def test_what_a_user_executes_is_no_user(used_directory: Path) -> None:
    script = """
import subprocess, sys
from pathlib import Path
from pgflow import embedded
server = embedded.start(Path(sys.argv[1]), durable=False)
print(subprocess.Popen(["sleep", "60"], close_fds=False).pid, flush=True)
"""
    process = spawn(script, used_directory)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.wait()
        eventually(lambda: not (used_directory / "data" / "postmaster.pid").exists())
    finally:
        os.kill(child, signal.SIGKILL)
        end(process)


def test_a_fork_of_a_user_keeps_the_server_alive(used_directory: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from pgflow import embedded
server = embedded.start(Path(sys.argv[1]), durable=False)
if os.fork():
    server.close()
    os._exit(0)
print(server.dsn, flush=True)
sys.stdin.read()
"""
    process = spawn(script, used_directory)
    try:
        assert process.stdout is not None
        dsn = process.stdout.readline().strip()
        process.wait()
        pid = postmaster(used_directory)
        # A stop would have begun by the time that a newcomer may join.
        with embedded.start(used_directory), psycopg.connect(dsn) as conn:
            assert value(conn, "select 1") == 1
        with psycopg.connect(dsn) as conn:
            assert value(conn, "select 1") == 1
        assert postmaster(used_directory) == pid
    finally:
        end(process)
    eventually(lambda: not is_alive(pid))


def test_a_newcomer_while_it_stops_gets_a_running_one(used_directory: Path) -> None:
    for _ in range(5):
        with embedded.start(used_directory, durable=False) as server, psycopg.connect(server.dsn) as conn:
            assert value(conn, "select 1") == 1
