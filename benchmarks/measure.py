"""One measurement: an engine's processes on a fresh database, and what they and PostgreSQL used."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
from cluster import Cluster, cpu_seconds
from engines.harness import TALLY_READ, TALLY_WRITE

_HERE = Path(__file__).parent
#: Seconds that a process gets to come up, and to end.
_START_SECONDS, _STOP_SECONDS = 60, 15
#: Seconds before an idle worker is watched: the first look at everything is no part of being idle.
_CALM = 3.0


class Failed(Exception):
    """A measurement that came to nothing; says why."""


@dataclass(frozen=True)
class Scenario:
    """What is measured, with which processes."""

    name: str
    size: int
    concurrency: int
    workers: int = 1
    #: Seconds that every handler waits.
    delay: float = 0.0


def describe(engine: str) -> dict[str, Any]:
    """Version and abilities of an engine; raises NotAvailable, also if it is installed but does not start."""
    python = environments.python(engine)
    try:
        with _spawn(python, engine, "describe") as process:
            described: dict[str, Any] = json.loads(process.line(_START_SECONDS))
    except Failed as failure:
        raise environments.NotAvailable(str(failure)) from failure
    return described


def measure(cluster: Cluster, engine: str, has_worker: bool, scenario: Scenario, limit: float) -> dict[str, Any]:
    """Seconds, and what was used meanwhile; raises Failed."""
    python = environments.python(engine)
    options = ("--concurrency", str(scenario.concurrency), "--delay", str(scenario.delay))
    with cluster.database() as dsn, _tally() as tally, ExitStack() as stack:
        with _spawn(python, engine, "prepare", dsn) as process:
            process.end(_START_SECONDS)
        cluster.settle_down()
        workers = [
            stack.enter_context(_spawn(python, engine, "work", dsn, scenario.name, *options, tally=tally))
            for _ in range(scenario.workers if has_worker else 0)
        ]
        for worker in workers:
            worker.expect_ready()
        if scenario.name == "idle":
            return _watch_idle(cluster, dsn, scenario.size)
        client = stack.enter_context(
            _spawn(python, engine, "client", dsn, scenario.name, str(scenario.size), *options, tally=tally)
        )
        _hear(client, workers, _START_SECONDS)
        used, worked = cluster.usage(), sum(w.cpu_seconds() for w in workers)
        client.go()
        result: dict[str, Any] = json.loads(_hear(client, workers, limit))
        used, worked = cluster.usage() - used, sum(w.cpu_seconds() for w in workers) - worked
    tasks = result["tasks"]
    return result | {
        "postgres_cpu_ms_per_task": used.cpu_seconds * 1000 / tasks,
        "worker_cpu_ms_per_task": worked * 1000 / tasks if has_worker else None,
        "wal_bytes_per_task": used.wal_bytes / tasks,
    }


def _hear(client: _Process, workers: list[_Process], limit: float) -> str:
    """The client's next line; a worker that dies first is a failure at once."""
    deadline = time.monotonic() + limit
    while not client.has_said_something(min(1.0, limit)):
        for worker in workers:
            worker.expect_alive()
        if time.monotonic() > deadline:
            raise Failed(f"not done within {limit:g} s")
    return client.line(0)


def _watch_idle(cluster: Cluster, dsn: str, seconds: int) -> dict[str, Any]:
    time.sleep(_CALM)
    before, begin = cluster.transactions(dsn), time.monotonic()
    time.sleep(seconds)
    after, took = cluster.transactions(dsn), time.monotonic() - begin
    return {
        "seconds": took,
        "statements_per_second": (after - before) / took,
        "connections": cluster.connections(dsn),
    }


# ---------------------------------------------------------------------------------------- processes


class _Process:
    """One process of an engine: what it says line by line, and its log."""

    def __init__(self, command: list[str], environment: dict[str, str], descriptors: tuple[int, ...]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            command, cwd=_HERE, env=environment, pass_fds=descriptors, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def line(self, limit: float) -> str:
        """The next line that it says; lines come one at a time, each after it was asked for."""
        if not self.has_said_something(limit):
            raise Failed(f"not done within {limit:g} s")
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise Failed(self._last_words())
        return line

    def has_said_something(self, limit: float) -> bool:
        """Whether there is a line, or the end, within so many seconds."""
        readable, _, _ = select.select([self._process.stdout], [], [], limit)
        return bool(readable)

    def expect_alive(self) -> None:
        if self._process.poll() is not None:
            raise Failed(f"a worker ended: {self._last_words()}")

    def expect_ready(self) -> None:
        self.line(_START_SECONDS)

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self, limit: float) -> None:
        """Waits for its end, which must be a good one."""
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done within {limit:g} s") from None
        if status != 0:
            raise Failed(self._last_words())

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            if file is not None:
                file.close()

    def _last_words(self) -> str:
        self._process.wait(_STOP_SECONDS)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit status {self._process.returncode}"


@contextmanager
def _spawn(
    python: Path, engine: str, role: str, *arguments: str, tally: tuple[int, int] = (-1, -1)
) -> Iterator[_Process]:
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL" and not k.startswith("PGFLOW_")}
    environment |= {TALLY_READ: str(tally[0]), TALLY_WRITE: str(tally[1])}
    descriptors = tuple(end for end in tally if end >= 0)
    process = _Process([str(python), "-m", f"engines.{engine}", role, *arguments], environment, descriptors)
    try:
        yield process
    finally:
        process.close()


@contextmanager
def _tally() -> Iterator[tuple[int, int]]:
    """The pipe from handlers to client."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
