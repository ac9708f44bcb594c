"""The other side: pgflow's npm packages, fetched once into tests/foreign/node_modules, and Node to run them.

Where Node, npm or the registry is missing, tests are skipped and say so; with PGFLOW_REQUIRE_NODE=1 they fail.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
from psycopg.conninfo import conninfo_to_dict

HERE = Path(__file__).parent
_PACKAGES = HERE / "package.json"
_MODULES = HERE / "node_modules"
#: Read before any fixture clears the environment.
_IS_REQUIRED = os.environ.get("PGFLOW_REQUIRE_NODE") == "1"
_SECONDS = 60
_INSTALL_SECONDS = 300
#: The parts of an address that both of Node's drivers take from the environment.
_ADDRESS = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}


def migrations() -> list[Path]:
    """What `@pgflow/core` would have Supabase run, in order."""
    return sorted((modules() / "@pgflow" / "core" / "dist" / "supabase" / "migrations").glob("*.sql"))


@contextmanager
def running(script: str | Path, dsn: str, *arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """A script, of this folder if not said otherwise, at work, killed at the end; it gets its arguments as JSON."""
    modules()
    parts = conninfo_to_dict(dsn)
    address = {variable: str(parts[name]) for name, variable in _ADDRESS.items() if name in parts}
    with subprocess.Popen(
        [_program("node"), str(HERE / script), *map(json.dumps, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **address},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> Any:
    """Waits for a script's end; what it printed last, decoded."""
    out, err = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@cache
def modules() -> Path:
    """The folder of the packages that package.json pins; installed once, also if several suites run."""
    npm = _program("npm")
    stamp = _MODULES / ".installed"
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != _PACKAGES.read_text():
            command = [npm, "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
            done = subprocess.run(
                command, cwd=HERE, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
            if done.returncode:
                _miss(f"npm install: {done.stderr.strip()[-300:]}")
            stamp.write_text(_PACKAGES.read_text())
    return _MODULES


def _program(name: str) -> str:
    return shutil.which(name) or _miss(f"{name} is not there")


def _miss(what: str) -> NoReturn:
    if _IS_REQUIRED:
        pytest.fail(f"PGFLOW_REQUIRE_NODE is set, but {what}")
    pytest.skip(f"PGFLOW'S NPM PACKAGES WERE NOT TESTED: {what}")
