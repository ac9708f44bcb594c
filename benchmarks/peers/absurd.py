"""Absurd: tasks with checkpointed steps, results kept, workers that poll. No DAG: a fan-out is one task per item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import psycopg
from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from absurdctl import BUNDLED_SCHEMA_SQL

from peers.harness import Engine, Setup, main, until

#: Its default of 0.25 s would make every latency one of waiting for a poll.
_POLL_SECONDS = 0.02
#: Its client starts tasks one by one, so several do it at once.
_CLIENTS = 4


async def prepare(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(BUNDLED_SCHEMA_SQL)
        await AsyncAbsurd(connection).create_queue()


async def work(dsn: str, setup: Setup) -> None:
    absurd = AsyncAbsurd(dsn)

    @absurd.register_task("chain")
    async def chain(steps: int, context: AsyncTaskContext) -> int:
        async def step() -> int:
            await setup.handle()
            setup.tally.add()
            return 1

        return sum([await context.step(f"step{n}", step) for n in range(steps)])

    @absurd.register_task("item")
    async def item(number: int, _context: AsyncTaskContext) -> int:
        await setup.handle()
        setup.tally.add()
        return number

    try:
        setup.ready()
        await absurd.start_worker(concurrency=setup.concurrency, poll_interval=_POLL_SECONDS)
    finally:
        await absurd.close()


class _Client:
    def __init__(self, clients: list[AsyncAbsurd], connection: psycopg.AsyncConnection, setup: Setup) -> None:
        self.clients = clients
        self.connection = connection
        self.tally = setup.tally

    async def fan_out(self, items: int) -> None:
        await self._spawn("item", range(items))
        await self._finish(items)

    async def start_runs(self, runs: int, steps: int) -> None:
        await self._spawn("chain", [steps] * runs)

    async def finish_runs(self, runs: int, steps: int) -> None:
        await self._finish(runs * steps)

    async def run_once(self, steps: int) -> None:
        await self._spawn("chain", [steps])
        await self._finish(steps)

    async def _spawn(self, task: str, given: Any) -> None:
        left = iter(given)

        async def spawn(absurd: AsyncAbsurd) -> None:
            for parameter in left:
                await absurd.spawn(task, parameter, queue="default")

        await asyncio.gather(*map(spawn, self.clients))

    async def _finish(self, handlers: int) -> None:
        async def done() -> bool:
            unfinished = "select from absurd.t_default where state in ('pending', 'running', 'sleeping') limit 1"
            return await (await self.connection.execute(unfinished)).fetchone() is None

        await self.tally.wait(handlers)
        await until(done)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    clients = [AsyncAbsurd(dsn) for _ in range(_CLIENTS)]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield _Client(clients, connection, setup)
    for one in clients:
        await one.close()


if __name__ == "__main__":
    main(Engine(version("absurd-sdk"), prepare=prepare, work=work, client=client, is_slow=True))
