"""Oban for Python: a queue, no results, no DAG. A run of 3 steps is a job whose handler enqueues the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import uvloop
from oban import Job, Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from peers.harness import Engine, Setup, forever, main, until

#: Its default.
_CONNECTIONS = 10
#: What the step's handler does; set by the process that works.
_setup = Setup()


@worker(queue="default")
class Step:
    async def process(self, job: Job) -> None:
        await _setup.handle()
        if job.args["left"]:
            await Oban.get_instance().enqueue(Step.new({"left": job.args["left"] - 1}))
        _setup.tally.add()


async def prepare(dsn: str) -> None:
    async with _pool(dsn) as pool:
        await install(pool)


async def work(dsn: str, setup: Setup) -> None:
    global _setup
    _setup = setup
    async with _pool(dsn) as pool, Oban(pool=pool, queues={"default": setup.concurrency}):
        setup.ready()
        await forever()


class _Client:
    def __init__(self, oban: Oban, pool: AsyncConnectionPool, setup: Setup) -> None:
        self.oban = oban
        self.pool = pool
        self.tally = setup.tally

    async def fan_out(self, items: int) -> None:
        await self.start_runs(items, 1)
        await self.finish_runs(items, 1)

    async def start_runs(self, runs: int, steps: int) -> None:
        await self.oban.enqueue_many(Step.new({"left": steps - 1}) for _ in range(runs))

    async def finish_runs(self, runs: int, steps: int) -> None:
        async def done() -> bool:
            async with self.pool.connection() as connection:
                cursor = await connection.execute(
                    "select from oban_jobs where state in ('available', 'scheduled', 'executing', 'retryable') limit 1"
                )
                return await cursor.fetchone() is None

        await self.tally.wait(runs * steps)
        await until(done)

    async def run_once(self, steps: int) -> None:
        await self.oban.enqueue(Step.new({"left": steps - 1}))
        await self.tally.wait(steps)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    async with _pool(dsn) as pool, Oban(pool=pool) as oban:
        yield _Client(oban, pool, setup)


def _pool(dsn: str) -> AsyncConnectionPool:
    return AsyncConnectionPool(dsn, min_size=1, max_size=_CONNECTIONS, open=False)


if __name__ == "__main__":
    uvloop.install()
    main(Engine(version("oban"), prepare=prepare, work=work, client=client))
