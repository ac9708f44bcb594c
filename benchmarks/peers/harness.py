"""The process around an engine: its command line, and how it talks to `run.py`.

    python -m peers.<name> prepare DSN
    python -m peers.<name> work    DSN SCENARIO        says `ready`, works until SIGTERM
    python -m peers.<name> client  DSN SCENARIO SIZE   says `ready`, waits for a line, works, says its result in JSON

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

#: Runs or items that nobody measures, before those that are: connections, plans and flows are then there.
_WARM_UP = 5
#: The same per worker process where there are several: so many that each gets some, and on all its connections.
_WARM_UP_OF_EACH = 100
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
        #: When the last of them was heard of.
        self.heard_at = 0.0
        self._changed = asyncio.Event()

    def add(self) -> None:
        os.write(self._write, b".")

    def listen(self) -> None:
        """Reads the pipe from now on, so that it never fills up and holds up handlers."""
        asyncio.get_running_loop().add_reader(self._read, self._on_readable)

    def _on_readable(self) -> None:
        self._count += len(os.read(self._read, 65536))
        self.heard_at = time.perf_counter()
        self._changed.set()

    async def wait(self, count: int) -> None:
        """Returns when so many more handlers have run than those waited for before."""
        while self._count < count:
            self._changed.clear()
            await self._changed.wait()
        self._count -= count


@dataclass(frozen=True)
class Scenario:
    """What is measured, with which processes."""

    workload: str = ""
    #: What the client does: a key of `_KINDS`, or "idle".
    kind: str = ""
    #: Items, runs, or seconds of idling.
    size: int = 0
    #: Steps of a run; 0 where there are items instead of runs.
    steps: int = 0
    workers: int = 1
    #: Handlers at once in a worker process.
    concurrency: int = 100
    #: Seconds that every handler waits.
    delay: float = 0.0
    #: Size of an item; 0: a small number.
    element_bytes: int = 0
    #: Finished tasks that are in the database beforehand.
    history: int = 0
    #: Whether items have to be spread over the worker processes, whatever else an engine would do.
    spread: bool = False


@dataclass
class Setup:
    """What `run.py` asks of an engine's processes."""

    scenario: Scenario = field(default_factory=Scenario)
    tally: Tally = field(default_factory=Tally)

    @property
    def concurrency(self) -> int:
        return self.scenario.concurrency

    def ready(self) -> None:
        _say("ready")

    async def handle(self) -> None:
        """What a handler does."""
        if self.scenario.delay:
            await asyncio.sleep(self.scenario.delay)

    def elements(self, count: int) -> list[Any]:
        """So many items: numbers, or texts that hardly compress, always the same ones."""
        if not self.scenario.element_bytes:
            return list(range(count))
        source = random.Random(1)  # noqa: S311  # the same ones for everybody
        return [source.randbytes(self.scenario.element_bytes // 2).hex() for _ in range(count)]


class Client(Protocol):
    tally: Tally

    async def fan_out(self, items: int) -> None: ...
    async def start_runs(self, runs: int, steps: int) -> None: ...
    async def finish_runs(self, runs: int, steps: int) -> None: ...
    async def run_once(self, steps: int) -> None: ...


@dataclass(frozen=True)
class Engine:
    """An engine, as its file describes it."""

    #: Says which version is measured.
    version: str
    prepare: Callable[[str], Awaitable[None]]
    client: Callable[[str, Setup], AbstractAsyncContextManager[Client]]
    #: None: the client does the work itself.
    work: Callable[[str, Setup], Awaitable[None]] | None = None
    kinds: tuple[str, ...] = ("fan_out", "runs", "start", "latency", "idle")
    #: Below 1,000 tasks a second: gets a tenth of the items, and all of them once.
    is_slow: bool = False
    #: Not even once.
    is_slowest: bool = False
    #: Where it keeps its work: "postgres" or "redis".
    store: str = "postgres"


def main(engine: Engine) -> None:
    """The command line of an engine's processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["describe", "prepare", "work", "client"])
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("scenario", nargs="?", default="{}")
    given = parser.parse_args()
    os.dup2(2, 1)
    setup = Setup(Scenario(**json.loads(given.scenario)))
    if given.role == "describe":
        _say(json.dumps(_describe(engine)))
    elif given.role == "prepare":
        asyncio.run(_prepare(engine, given.address))
    elif given.role == "work":
        asyncio.run(_work(engine, given.address, setup))
    else:
        asyncio.run(_client(engine, given.address, setup))


def _describe(engine: Engine) -> dict[str, Any]:
    return {
        "version": engine.version,
        "python": sys.version.split()[0],
        "has_worker": engine.work is not None,
        "kinds": engine.kinds,
        "is_slow": engine.is_slow,
        "is_slowest": engine.is_slowest,
        "store": engine.store,
    }


async def _prepare(engine: Engine, address: str) -> None:
    await engine.prepare(address)


async def _work(engine: Engine, address: str, setup: Setup) -> None:
    assert engine.work is not None
    working = asyncio.ensure_future(engine.work(address, setup))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _client(engine: Engine, address: str, setup: Setup) -> None:
    setup.tally.listen()
    async with engine.client(address, setup) as client:
        measure = _KINDS[setup.scenario.kind](client, setup.scenario)
        await anext(measure)  # the warm-up
        setup.ready()
        sys.stdin.readline()
        _say(json.dumps(await anext(measure)))


# ---------------------------------------------------------------------------------------- what clients do
#
# Each yields twice: when it is warm, and its result.


async def _fan_out(client: Client, scenario: Scenario) -> Any:
    await client.fan_out(_WARM_UP_OF_EACH * scenario.workers if scenario.spread else _WARM_UP)
    yield
    begin = time.perf_counter()
    await client.fan_out(scenario.size)
    yield {"tasks": scenario.size, "seconds": time.perf_counter() - begin}


async def _runs(client: Client, scenario: Scenario) -> Any:
    await client.start_runs(_WARM_UP, scenario.steps)
    await client.finish_runs(_WARM_UP, scenario.steps)
    yield
    begin = time.perf_counter()
    await client.start_runs(scenario.size, scenario.steps)
    started = time.perf_counter()
    await client.finish_runs(scenario.size, scenario.steps)
    yield {
        "tasks": scenario.size * scenario.steps,
        "seconds": time.perf_counter() - begin,
        "start_seconds": started - begin,
    }


async def _start(client: Client, scenario: Scenario) -> Any:
    """Nobody works on them. What is counted as tasks are runs."""
    await client.start_runs(_WARM_UP, scenario.steps)
    yield
    begin = time.perf_counter()
    await client.start_runs(scenario.size, scenario.steps)
    yield {"tasks": scenario.size, "seconds": time.perf_counter() - begin}


async def _latency(client: Client, scenario: Scenario) -> Any:
    pauses = random.Random(1)  # noqa: S311  # the same ones for everybody
    for _ in range(_WARM_UP):
        await client.run_once(scenario.steps)
    yield
    took, ran = [], []
    for _ in range(scenario.size):
        await asyncio.sleep(pauses.uniform(*_PAUSE))
        begin = time.perf_counter()
        await client.run_once(scenario.steps)
        took.append(time.perf_counter() - begin)
        ran.append(client.tally.heard_at - begin)
    yield {"tasks": scenario.size * scenario.steps, "seconds": sum(took), "latencies": took, "ran": ran}


_KINDS: dict[str, Callable[[Client, Scenario], Any]] = {
    "fan_out": _fan_out,
    "runs": _runs,
    "start": _start,
    "latency": _latency,
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
