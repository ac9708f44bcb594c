"""A data directory that several tests start their servers in, since making one takes most of a start's time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgflow import embedded
from pgflow.testing.databases import short_directory


@pytest.fixture(scope="session")
def _shared_directory() -> Iterator[Path]:
    with short_directory() as path:
        with embedded.start(path, durable=False):
            pass
        yield path


@pytest.fixture
def used_directory(_shared_directory: Path) -> Path:
    """A directory of servers that ran before and have stopped, in good order."""
    with (_shared_directory / "server.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # not before the server of an earlier test has ended
    return _shared_directory
