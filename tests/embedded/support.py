"""Users of an embedded server in processes of their own, and what can be seen of its postmaster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change what this is about")

#: Says where its server is, then uses it until its input ends.
_USER = """
import sys
from pathlib import Path
from pgflow import embedded
server = embedded.start(Path(sys.argv[1]) if sys.argv[1] else None, durable=False)
print(server.dsn, flush=True)
sys.stdin.read()
"""


def spawn(script: str, *arguments: object, **how: Any) -> subprocess.Popen[str]:
    """Python running this script, its three streams being pipes; `python=` names another interpreter."""
    python = how.pop("python", sys.executable)
    return subprocess.Popen(
        [python, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how,
    )  # fmt: skip


def ask_to_start(directory: Path | str, **how: Any) -> subprocess.Popen[str]:
    """A process that starts the directory's server and uses it until its input ends."""
    return spawn(_USER, directory, **how)


@contextmanager
def user_of(directory: Path | str, **how: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process as a user of the directory's server, and the address that it got; gone afterwards."""
    process = ask_to_start(directory, **how)
    try:
        assert process.stdout is not None
        dsn = process.stdout.readline().strip()
        if not dsn:
            pytest.fail(process.communicate()[1])
        yield process, dsn
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> str:
    """Lets a process come to its end; returns what it printed."""
    try:
        return process.communicate(timeout=30)[0]
    finally:
        process.kill()


def postmaster(directory: Path) -> int:
    """The process id of the directory's server."""
    return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
