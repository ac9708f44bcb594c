"""The process around an engine: its command line, and how it talks to `run.py`.

    python -m engines.<name> prepare DSN
    python -m engines.<name> work    DSN SCENARIO        says `ready`, works until SIGTERM
    python -m engines.<name> client  DSN SCENARIO SIZE   says `ready`, waits for a line, works, says its result in JSON

Needs nothing but the standard library, since it runs in every engine's environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

#: Environment variables with the two ends of the pipe from handlers to client.
TALLY_READ, TALLY_WRITE = "BENCH_TALLY_READ", "BENCH_TALLY_WRITE"

#: Where `run.py` listens; what libraries print goes to the log instead.
_answers = os.fdopen(os.dup(1), "w")

#: Steps of a run in each scenario that has runs.
STEPS = {"runs": 3, "latency1": 1, "latency3": 3}
#: Runs that nobody measures, before those that are: connections, plans and flows are then there.
_WARM_UP = 5
#: Seconds between two runs of a latency scenario. At random, so that nobody is in step with a poller.
_PAUSE = (0.01, 0.11)
#: Seconds between two looks at whether a queue is done, once all its handlers have run.
_LOOK = 0.003


class Tally:
    """A pipe that counts the handlers that have run, over all worker processes."""

    def __init__(self) -> None:
        self._write = int(os.environ.get(TALLY_WRITE, -1))
        self._read = int(os.environ.get(TALLY_READ, -1))
        self._count = 0
        self._changed = asyncio.Event()

    def add(self) -> None:
        os.write(self._write, b".")

    def listen(self) -> None:
        """Reads the pipe from now on, so that it never fills up and holds up handlers."""
        asyncio.get_running_loop().add_reader(self._read, self._on_readable)

    def _on_readable(self) -> None:
        self._count += len(os.read(self._read, 65536))
        self._changed.set()

    async def wait(self, count: int) -> None:
        """Returns when so many more handlers have run than those waited for before."""
        while self._count < count:
            self._changed.clear()
            await self._changed.wait()
        self._count -= count


@dataclass
class Setup:
    """What `run.py` asks of an engine's processes."""

    scenario: str
    concurrency: int
    delay: float
    tally: Tally = field(default_factory=Tally)

    def ready(self) -> None:
        _say("ready")

    async def handle(self) -> None:
        """What a handler does."""
        if self.delay:
            await asyncio.sleep(self.delay)


class Client(Protocol):
    async def fan_out(self, items: int) -> None: ...
    async def start_runs(self, runs: int, steps: int) -> None: ...
    async def finish_runs(self, runs: int, steps: int) -> None: ...
    async def run_once(self, steps: int) -> None: ...


@dataclass(frozen=True)
class Engine:
    """An engine, as its file describes it."""

    #: Says which version is measured.
    version: str
    #: Whether the result of every task is in the database in the end.
    keeps_results: bool
    prepare: Callable[[str], Awaitable[None]]
    client: Callable[[str, Setup], AbstractAsyncContextManager[Client]]
    #: None: the client does the work itself.
    work: Callable[[str, Setup], Awaitable[None]] | None = None
    scenarios: tuple[str, ...] = ("fanout", "runs", "latency1", "latency3", "scale", "idle")
    #: Below 1,000 tasks a second: gets a tenth of the size, unless the full size is asked for.
    is_slow: bool = False


def main(engine: Engine) -> None:
    """The command line of an engine's processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["describe", "prepare", "work", "client"])
    parser.add_argument("dsn", nargs="?", default="")
    parser.add_argument("scenario", nargs="?", default="")
    parser.add_argument("size", nargs="?", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    os.dup2(2, 1)
    setup = Setup(given.scenario, given.concurrency, given.delay)
    if given.role == "describe":
        _say(json.dumps(_describe(engine)))
    elif given.role == "prepare":
        asyncio.run(_prepare(engine, given.dsn))
    elif given.role == "work":
        asyncio.run(_work(engine, given.dsn, setup))
    else:
        asyncio.run(_client(engine, given.dsn, setup, given.size))


def _describe(engine: Engine) -> dict[str, Any]:
    return {
        "version": engine.version,
        "python": sys.version.split()[0],
        "keeps_results": engine.keeps_results,
        "has_worker": engine.work is not None,
        "scenarios": engine.scenarios,
        "is_slow": engine.is_slow,
    }


async def _prepare(engine: Engine, dsn: str) -> None:
    await engine.prepare(dsn)


async def _work(engine: Engine, dsn: str, setup: Setup) -> None:
    assert engine.work is not None
    working = asyncio.ensure_future(engine.work(dsn, setup))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _client(engine: Engine, dsn: str, setup: Setup, size: int) -> None:
    setup.tally.listen()
    async with engine.client(dsn, setup) as client:
        measure = _SCENARIOS[setup.scenario](client, STEPS.get(setup.scenario, 0), size)
        await anext(measure)  # the warm-up
        setup.ready()
        sys.stdin.readline()
        _say(json.dumps(await anext(measure)))


# ---------------------------------------------------------------------------------------- the scenarios
#
# Each yields twice: when it is warm, and its result.


async def _fan_out(client: Client, _steps: int, items: int) -> Any:
    await client.fan_out(_WARM_UP)
    yield
    begin = time.perf_counter()
    await client.fan_out(items)
    yield {"tasks": items, "seconds": time.perf_counter() - begin}


async def _runs(client: Client, steps: int, runs: int) -> Any:
    await client.start_runs(_WARM_UP, steps)
    await client.finish_runs(_WARM_UP, steps)
    yield
    begin = time.perf_counter()
    await client.start_runs(runs, steps)
    started = time.perf_counter()
    await client.finish_runs(runs, steps)
    yield {
        "tasks": runs * steps,
        "seconds": time.perf_counter() - begin,
        "start_seconds": started - begin,
    }


async def _latency(client: Client, steps: int, runs: int) -> Any:
    pauses = random.Random(1)  # noqa: S311  # the same ones for everybody
    for _ in range(_WARM_UP):
        await client.run_once(steps)
    yield
    took = []
    for _ in range(runs):
        await asyncio.sleep(pauses.uniform(*_PAUSE))
        begin = time.perf_counter()
        await client.run_once(steps)
        took.append(time.perf_counter() - begin)
    yield {"tasks": runs * steps, "seconds": sum(took), "latencies": took}


_SCENARIOS: dict[str, Callable[[Client, int, int], Any]] = {
    "fanout": _fan_out,
    "scale": _fan_out,
    "runs": _runs,
    "latency1": _latency,
    "latency3": _latency,
}


def _say(line: str) -> None:
    print(line, file=_answers, flush=True)


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    """Looks again and again until it holds."""
    while not await holds():  # noqa: ASYNC110  # what changes is in the database
        await asyncio.sleep(_LOOK)


async def forever() -> None:
    """What a worker that works in the background waits for."""
    await asyncio.Event().wait()
