"""`pgflow worker --core=foreign`, as a process of its own."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import APP, spawn
from tests.foreign.support import ended, start
from tests.support import eventually, value

SHOUT: Any = SimpleNamespace(slug="shout")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("processes", [1, 2])
async def test_it_works_until_it_is_asked_to_stop(
    foreign_dsn: str, foreign: psycopg.Connection, app: Path, processes: int
) -> None:
    with spawn(
        "worker", "app", "--core=foreign", f"--processes={processes}", cwd=app, PGFLOW_DATABASE_URL=foreign_dsn
    ) as worker:
        try:
            eventually(lambda: value(foreign, "select count(*) from pgflow.workers") == processes, within=60)
            run = await ended(foreign, start(foreign, SHOUT, {"text": "hi"}))
            worker.send_signal(signal.SIGTERM)
            _, log = worker.communicate(timeout=30)
        finally:
            worker.kill()
    assert run.output == {"louder": "HI"}
    assert worker.returncode == 0, log


@pytest.mark.parametrize(
    ("core", "message"),
    [("foreign", "py-pgflow's own: leave out --core=foreign"), ("x", "core must be 'own' or 'foreign', not 'x'")],
)
def test_what_it_cannot_work_with_it_says_in_one_line(dsn: str, app: Path, core: str, message: str) -> None:
    with spawn("worker", "app", "--core", core, "--dsn", dsn, cwd=app) as worker:
        _, log = worker.communicate(timeout=30)
    assert worker.returncode == 2
    assert message in log
    assert log.count("\n") == 1
