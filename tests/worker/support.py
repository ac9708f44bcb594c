"""What the worker's tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from pgflow import AsyncClient, Flow, Run, Worker
from tests.support import rows


async def work(dsn: str, flow: Flow[Any, Any], input: Any = None, *, timeout: float = 30, **options: Any) -> Run:
    """Starts a run, works on it until it has ended, and returns it."""
    async with Worker([flow], dsn=dsn, grace=1, **options), AsyncClient(dsn) as client:
        return await client.wait(await client.start(flow, input), timeout=timeout)


def one_task_flow(handler: Any, **options: Any) -> Flow[Any, Any]:
    """A flow whose only step is this handler, retried at once."""
    flow: Flow[Any, Any] = Flow("solo", base_delay=0)
    flow.step(slug="only", **options)(handler)
    return flow


def tasks(conn: psycopg.Connection, step: str) -> list[dict[str, Any]]:
    """The rows of a step's tasks, by run and index."""
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(
            "select * from pgflow.step_tasks where step_slug = %s order by run_id, task_index", (step,)
        ).fetchall()


def kill_backends(conn: psycopg.Connection) -> int:
    """Terminates every connection of pgflow's to this database; returns how many there were."""
    return len(
        rows(
            conn,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'pgflow' and pid <> pg_backend_pid()",
        )
    )


@contextmanager
def process(path: Path, source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs this source, killed at the end if it has not ended by then."""
    script = path / "app.py"
    script.write_text(textwrap.dedent(source))
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:
        try:
            yield running
        finally:
            running.kill()
