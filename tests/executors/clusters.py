"""A Ray cluster on this machine, started as its command does it."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
#: Ray gives its parts 30 s to start and then gives up: too little on a busy machine.
_TRIES = 4
_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0")
_SIZE = ("--num-cpus=2", "--object-store-memory=100000000", "--include-dashboard=false", "--disable-usage-stats")
_ENVIRONMENT = {"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[dict[str, str]]:
    """The environment in which `ray.init()` connects to a cluster of two CPUs; without one, whoever asks is skipped."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}  # else one is left in the user's home
    for _ in range(_TRIES):
        with _started(token) as (cluster, said):
            if found := re.search(r"--address='(\S+)'", said):
                yield {**token, "RAY_ADDRESS": found[1]}
                assert cluster.poll() is None, "Ray has ended"
                return
            why = said[-500:]
    pytest.skip(f"RAY WAS NOT TESTED: it cannot start here: {why}")


@contextmanager
def _started(token: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The cluster, once it says that it works or has given up, and what it said."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as directory,
        subprocess.Popen(
            [*_START, *_SIZE, f"--temp-dir={directory}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **token, **_ENVIRONMENT},
        ) as cluster,
    ):  # fmt: skip
        assert cluster.stdout is not None
        said = ""
        try:
            for line in cluster.stdout:
                said += line
                if "--block" in line:  # its last words
                    break
            yield cluster, said
        finally:
            cluster.terminate()  # it ends its processes
            cluster.communicate(timeout=60)
