"""PgQueuer: a queue, no results, no DAG. A run of 3 steps is a job whose handler enqueues the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import asyncpg
import uvloop
from pgqueuer import Job, PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from peers.harness import Engine, Setup, main, until


async def prepare(dsn: str) -> None:
    async with _connection(dsn) as connection:
        await Queries(AsyncpgDriver(connection)).install()


async def work(dsn: str, setup: Setup) -> None:
    async with _connection(dsn) as connection:
        queuer = PgQueuer(AsyncpgDriver(connection))

        @queuer.entrypoint("step")
        async def step(job: Job) -> None:
            await setup.handle()
            left, _, item = (job.payload or b"").partition(b" ")
            if left != b"0":
                await queuer.qm.queries.enqueue("step", b"%d %b" % (int(left) - 1, item))
            setup.tally.add()

        setup.ready()
        # The largest batch that it allows with a limit of concurrent tasks.
        await queuer.run(batch_size=max(setup.concurrency // 2, 1), max_concurrent_tasks=setup.concurrency)


class _Client:
    def __init__(self, connection: asyncpg.Connection, setup: Setup) -> None:
        self.connection = connection
        self.queries = Queries(AsyncpgDriver(connection))
        self.setup = setup
        self.tally = setup.tally

    async def fan_out(self, items: int) -> None:
        await self._enqueue([b"0 %b" % str(element).encode() for element in self.setup.elements(items)])
        await self.finish_runs(items, 1)

    async def start_runs(self, runs: int, steps: int) -> None:
        await self._enqueue([b"%d " % (steps - 1)] * runs)

    async def _enqueue(self, payloads: list[bytes]) -> None:
        await self.queries.enqueue(["step"] * len(payloads), payloads, [0] * len(payloads))

    async def finish_runs(self, runs: int, steps: int) -> None:
        async def done() -> bool:
            return not await self.connection.fetchval("select exists (select from pgqueuer)")

        await self.tally.wait(runs * steps)
        await until(done)

    async def run_once(self, steps: int) -> None:
        await self._enqueue([b"%d " % (steps - 1)])
        await self.tally.wait(steps)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    async with _connection(dsn) as connection:
        yield _Client(connection, setup)


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


if __name__ == "__main__":
    uvloop.install()
    main(Engine(version("pgqueuer"), prepare=prepare, work=work, client=client))
