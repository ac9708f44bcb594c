"""One measurement: an engine's processes on a fresh database, and what they and PostgreSQL used."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import environments
import history
from cluster import Cluster, cpu_seconds
from peers.harness import TALLY_READ, TALLY_WRITE, Scenario

_HERE = Path(__file__).parent
#: Seconds that a process gets to come up, and to end.
_START_SECONDS, _STOP_SECONDS = 180, 15
#: Seconds before an idle worker is watched: the first look at everything is no part of being idle.
_CALM = 3.0
#: Characters of a statement that tell it from others.
_TEXT = 200


class Failed(Exception):
    """A measurement that came to nothing; says why."""


class Store(Protocol):
    """Where engines keep their work: `cluster.Cluster` and `redis_server.Redis` say what each of these means."""

    def database(self, *, logs_statements: bool = False) -> AbstractContextManager[str]: ...
    def settle_down(self) -> None: ...
    def usage(self) -> dict[str, float]: ...
    def traffic(self, address: str) -> dict[str, float]: ...
    def await_quiet(self, address: str) -> None: ...
    def connections(self, address: str) -> int: ...
    def statements(self, address: str) -> AbstractContextManager[list[str]]: ...


def describe(engine: str) -> dict[str, Any]:
    """Version and abilities of an engine; raises NotAvailable, also if it is installed but does not start."""
    python = environments.python(engine)
    try:
        with spawn(python, engine, "describe") as process:
            described: dict[str, Any] = json.loads(process.line(_START_SECONDS))
    except Failed as failure:
        raise environments.NotAvailable(str(failure)) from failure
    return described


def measure(store: Store, engine: str, has_worker: bool, scenario: Scenario, limit: float) -> dict[str, Any]:
    """Seconds, and what was used meanwhile; raises Failed."""
    python = environments.python(engine)
    with _database(store, python, engine, scenario) as address:
        with _tally() as tally, ExitStack() as stack:
            store.settle_down()
            given = (address, json.dumps(asdict(scenario)))
            workers = [
                stack.enter_context(spawn(python, engine, "work", *given, tally=tally))
                for _ in range(scenario.workers if has_worker else 0)
            ]
            for worker in workers:
                worker.expect_ready()
            if scenario.kind == "idle":
                return _watch_idle(store, address, scenario.size)
            client = stack.enter_context(spawn(python, engine, "client", *given, tally=tally))
            _hear(client, workers, _START_SECONDS)
            before = store.traffic(address) | store.usage() | {"worker": _cpu_seconds(workers)}
            client.go()
            result: dict[str, Any] = json.loads(_hear(client, workers, limit))
            after = store.usage() | {"worker": _cpu_seconds(workers)}
        store.await_quiet(address)
        after |= store.traffic(address)
    each = {name: (after[name] - before[name]) / result["tasks"] for name in after}
    return result | {
        "database_cpu_ms_per_task": each.pop("cpu_seconds") * 1000,
        "worker_cpu_ms_per_task": each.pop("worker") * 1000 if workers else None,
    } | {f"{name}_per_task": count for name, count in each.items()}  # fmt: skip


@contextmanager
def _database(store: Store, python: Path, engine: str, scenario: Scenario) -> Iterator[str]:
    """A new database with the engine's schema; with a history, the one that is kept."""

    def prepare(address: str) -> None:
        with spawn(python, engine, "prepare", address) as process:
            process.end(_START_SECONDS)

    def prepare_with_history(address: str) -> None:
        prepare(address)
        history.fill(address, scenario.history)

    if scenario.history:
        assert isinstance(store, Cluster)
        yield store.kept(scenario.history, prepare_with_history)
    else:
        with store.database(logs_statements=scenario.kind == "idle") as address:
            prepare(address)
            yield address


def _cpu_seconds(processes: list[_Process]) -> float:
    return sum(process.cpu_seconds() for process in processes)


def _hear(client: _Process, workers: list[_Process], limit: float) -> str:
    """The client's next line; a worker that dies first is a failure at once."""
    deadline = time.monotonic() + limit
    while not client.has_said_something(min(1.0, limit)):
        for worker in workers:
            worker.expect_alive()
        if time.monotonic() > deadline:
            raise Failed(f"not done within {limit:g} s")
    return client.line(0)


def _watch_idle(store: Store, address: str, seconds: int) -> dict[str, Any]:
    time.sleep(_CALM)
    with store.statements(address) as asked:
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
    return {
        "seconds": took,
        "statements_per_second": len(asked) / took,
        "statements": Counter(text[:_TEXT] for text in asked),
        "connections": store.connections(address),
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
def spawn(
    python: Path,
    engine: str,
    role: str,
    *arguments: str,
    tally: tuple[int, int] = (-1, -1),
    under: tuple[str, ...] = (),
) -> Iterator[_Process]:
    """A process of an engine; `under` are arguments of Python that come first, such as those of a profiler."""
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL" and not k.startswith("PGFLOW_")}
    environment |= {TALLY_READ: str(tally[0]), TALLY_WRITE: str(tally[1])}
    descriptors = tuple(end for end in tally if end >= 0)
    process = _Process([str(python), *under, "-m", f"peers.{engine}", role, *arguments], environment, descriptors)
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
