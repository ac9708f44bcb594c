"""Celery on Redis: chords and chains, results in Redis. The only one here that keeps nothing in PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from celery import Celery, chain, chord, group

from peers.harness import Engine, Setup, forever, main, until


def _app(address: str, setup: Setup) -> Celery:
    app = Celery("bench", broker=address, backend=address)
    app.set_default()  # in every thread: what comes next in a chain is sent from the pool's

    @app.task(name="step")
    def step(number: int) -> int:
        if setup.scenario.delay:
            time.sleep(setup.scenario.delay)
        setup.tally.add()
        return number

    @app.task(name="count")
    def count(numbers: list[int]) -> int:
        return len(numbers)

    return app


async def prepare(_address: str) -> None:
    """Redis knows no schema."""


async def work(address: str, setup: Setup) -> None:
    # Of its pools the one for many handlers that mostly wait and need no other library.
    worker = _app(address, setup).WorkController(
        pool_cls="threads", concurrency=setup.concurrency, ready_callback=lambda _consumer: setup.ready()
    )
    threading.Thread(target=worker.start, daemon=True).start()
    await forever()


class _Client:
    def __init__(self, app: Celery, setup: Setup) -> None:
        self.app = app
        self.step, self.count = app.tasks["step"], app.tasks["count"]
        self.tally = setup.tally
        self.started: list[str] = []

    async def fan_out(self, items: int) -> None:
        fan = chord(group(self.step.s(number) for number in range(items)), self.count.s())
        assert await asyncio.to_thread(lambda: fan.apply_async().get()) == items
        await self.tally.wait(items)

    async def start_runs(self, runs: int, steps: int) -> None:
        await asyncio.to_thread(self._start, runs, steps)

    def _start(self, runs: int, steps: int) -> None:
        self.started = [self._chain(steps).apply_async().id for _ in range(runs)]

    def _chain(self, steps: int) -> chain:
        return chain(self.step.s(1), *(self.step.s() for _ in range(steps - 1)))

    async def finish_runs(self, runs: int, steps: int) -> None:
        backend = self.app.backend
        results = [backend.get_key_for_task(run) for run in self.started]

        async def done() -> bool:
            return None not in await asyncio.to_thread(backend.mget, results)

        await self.tally.wait(runs * steps)
        await until(done)

    async def run_once(self, steps: int) -> None:
        await asyncio.to_thread(lambda: self._chain(steps).apply_async().get())
        await self.tally.wait(steps)


@asynccontextmanager
async def client(address: str, setup: Setup) -> AsyncIterator[_Client]:
    with _app(address, setup) as app:
        yield _Client(app, setup)


if __name__ == "__main__":
    main(
        Engine(
            f"{version('celery')} with redis-server",
            prepare=prepare,
            work=work,
            client=client,
            is_slow=True,
            is_slowest=True,
            store="redis",
        )
    )
