"""The parent of several worker processes: what it starts, replaces, and stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Template

import pytest

from tests.support import eventually
from tests.worker.test_processes import is_gone

#: Stands in for a worker: says that it began, and follows its parent until it is stopped.
CHILD = """
    import asyncio, os, pathlib, sys
    from pgflow.worker.supervisor import follow_parent

    directory = pathlib.Path(sys.argv[1])

    async def main():
        stopped = asyncio.Event()
        async with follow_parent(stopped.set):
            (directory / f"begun-{os.getpid()}").touch()
            await stopped.wait()
        (directory / f"stopped-{os.getpid()}").touch()

    $before
    asyncio.run(main())
    $after
"""
PARENT = """
    import logging, sys
    from pgflow.worker import Supervisor

    logging.basicConfig()
    sys.exit(Supervisor(sys.argv[2:], int(sys.argv[1]), grace=0.5).run())
"""


@contextmanager
def supervised(
    path: Path, count: int, *, program: str = sys.executable, before: str = "", after: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A parent of so many children; what is left of them is killed at the end."""
    (path / "child.py").write_text(Template(textwrap.dedent(CHILD)).substitute(before=before, after=after))
    (path / "parent.py").write_text(textwrap.dedent(PARENT))
    command = [sys.executable, "parent.py", str(count), program, "child.py", str(path)]
    with subprocess.Popen(command, cwd=path, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        try:
            yield parent
        finally:
            parent.kill()
            for pid in pids(path):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def pids(path: Path, what: str = "begun") -> list[int]:
    return [int(file.name.rpartition("-")[2]) for file in path.glob(f"{what}-*")]


def begun(path: Path, count: int) -> list[int]:
    eventually(lambda: len(pids(path)) == count)
    return pids(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_children(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path, 2) as parent:
        children = begun(tmp_path, 2)
        parent.send_signal(number)
        assert parent.wait(20) == 0
    assert sorted(pids(tmp_path, "stopped")) == sorted(children)


def test_a_signal_to_all_of_a_terminal_stops_each_child_once(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as parent:
        children = begun(tmp_path, 2)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(20) == 0
    assert sorted(pids(tmp_path, "stopped")) == sorted(children)


def test_a_second_signal_kills_them_and_exits_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path, 2, after="import time; time.sleep(600)") as parent:
        children = begun(tmp_path, 2)
        parent.send_signal(signal.SIGTERM)
        eventually(lambda: len(pids(tmp_path, "stopped")) == 2)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 130
    eventually(lambda: all(is_gone(pid) for pid in children))


@pytest.mark.slow
def test_a_child_that_does_not_stop_is_killed_some_seconds_after_its_grace_period(tmp_path: Path) -> None:
    with supervised(tmp_path, 1, after="import time; time.sleep(600)") as parent:
        children = begun(tmp_path, 1)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 128 + signal.SIGKILL
        assert parent.stderr is not None
        assert f"worker process {children[0]} did not stop within 5.5 s: killing it" in parent.stderr.read()
    assert is_gone(children[0])


def test_a_child_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as parent:
        killed, neighbour = begun(tmp_path, 2)
        os.kill(killed, signal.SIGKILL)
        assert neighbour in begun(tmp_path, 3)
        assert parent.stderr is not None
        assert "ended (SIGKILL): another starts in 0.5 s" in parent.stderr.readline()
        assert not is_gone(neighbour)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0


@pytest.mark.slow
def test_pauses_between_crashes_grow(tmp_path: Path) -> None:
    with supervised(tmp_path, 1, before="sys.exit(70)") as parent:
        assert parent.stderr is not None
        said = [parent.stderr.readline() for _ in range(3)]
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0
    for line, pause in zip(said, ("0.5", "1.0", "2.0"), strict=True):
        assert f"ended (exit status 70): another starts in {pause} s" in line


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    with supervised(tmp_path, 1, program=str(tmp_path / "program")) as parent:
        assert parent.stderr is not None
        assert "a worker process cannot be started" in parent.stderr.readline()
        (tmp_path / "program.new").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (tmp_path / "program.new").chmod(0o755)
        (tmp_path / "program.new").rename(tmp_path / "program")
        begun(tmp_path, 1)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0


def test_a_child_that_is_worn_out_is_replaced_at_once(tmp_path: Path) -> None:
    before = "(first := directory / 'first').exists() or first.touch() or sys.exit(4)"
    with supervised(tmp_path, 1, before=before) as parent:
        assert parent.stderr is not None
        assert "ended (exit status 4): another starts in 0.0 s" in parent.stderr.readline()
        begun(tmp_path, 1)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0


@pytest.mark.parametrize("status", [2, 3])
def test_a_child_that_cannot_work_ends_all_with_its_status(tmp_path: Path, status: int) -> None:
    before = f"(first := directory / 'first').exists() or first.touch() or sys.exit({status})"
    with supervised(tmp_path, 2, before=before) as parent:
        assert parent.wait(20) == status
    eventually(lambda: all(is_gone(pid) for pid in pids(tmp_path)))


@pytest.mark.slow
def test_a_database_that_went_away_later_is_waited_for(tmp_path: Path) -> None:
    before = "(second := directory / 'second').exists() and (second.unlink() or sys.exit(3))"
    with supervised(tmp_path, 1, before=before) as parent:
        (first,) = begun(tmp_path, 1)
        (tmp_path / "second").touch()
        os.kill(first, signal.SIGKILL)
        begun(tmp_path, 2)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0
        assert parent.stderr is not None
        assert "ended (exit status 3): another starts in 1.0 s" in parent.stderr.read()


def test_a_child_that_fails_while_it_is_stopped_is_told_of(tmp_path: Path) -> None:
    with supervised(tmp_path, 2, after="sys.exit(70)") as parent:
        begun(tmp_path, 2)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 70


def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as parent:
        children = begun(tmp_path, 2)
        parent.kill()
        eventually(lambda: sorted(pids(tmp_path, "stopped")) == sorted(children))
        eventually(lambda: all(is_gone(pid) for pid in children))
