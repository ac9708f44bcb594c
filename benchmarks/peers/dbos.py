"""DBOS: workflows whose steps are checkpointed, results kept. A fan-out is one workflow with one step per item.

Where work is spread over several workers it is one queued workflow per item instead: a workflow's steps all run in
the process that runs the workflow.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from dbos import DBOS, DBOSClient, DBOSConfig

from peers.harness import Engine, Setup, forever, main, until

#: Its default of 1 s would make every latency one of waiting for a poll.
_POLL_SECONDS = 0.05
#: Between two looks of the client at a workflow whose handlers have run.
_LOOK_SECONDS = 0.003
#: Its client starts workflows one by one, so several do it at once.
_CLIENTS = 4


def _launch(dsn: str, setup: Setup) -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": dsn,
        "executor_id": str(os.getpid()),
        "application_version": "bench",
        "log_level": "WARNING",
    }
    DBOS(config=config)

    @DBOS.step()
    async def step(number: int) -> int:
        await setup.handle()
        setup.tally.add()
        return number

    @DBOS.workflow(name="chain")
    async def chain(steps: int) -> int:
        return sum([await step(n) for n in range(steps)])

    @DBOS.workflow(name="fan")
    async def fan(items: int) -> int:
        # It numbers steps in the order in which they begin, so they may only begin in a fixed one.
        counted = 0
        for begin in range(0, items, setup.concurrency):
            batch = range(begin, min(begin + setup.concurrency, items))
            counted += len(await asyncio.gather(*(step(n) for n in batch)))
        return counted

    DBOS.launch()
    DBOS.register_queue("bench", worker_concurrency=setup.concurrency, polling_interval_sec=_POLL_SECONDS)


async def prepare(dsn: str) -> None:
    await asyncio.to_thread(_launch, dsn, Setup())
    await asyncio.to_thread(DBOS.destroy)


async def work(dsn: str, setup: Setup) -> None:
    await asyncio.to_thread(_launch, dsn, setup)
    try:
        setup.ready()
        await forever()
    finally:
        await asyncio.to_thread(DBOS.destroy)


class _Client:
    def __init__(self, client: DBOSClient, setup: Setup) -> None:
        self.client = client
        self.spreads = setup.scenario.spread
        self.tally = setup.tally

    async def fan_out(self, items: int) -> None:
        if self.spreads:
            await self.start_runs(items, 1)
            await self.finish_runs(items, 1)
        else:
            assert await self._run("fan", items, handlers=items) == items

    async def start_runs(self, runs: int, steps: int) -> None:
        left = iter(range(runs))

        async def start() -> None:
            for _ in left:
                await self.client.enqueue_async({"queue_name": "bench", "workflow_name": "chain"}, steps)

        await asyncio.gather(*(start() for _ in range(_CLIENTS)))

    async def finish_runs(self, runs: int, steps: int) -> None:
        async def done() -> bool:
            return not await self.client.list_workflows_async(status=["ENQUEUED", "PENDING"], limit=1)

        await self.tally.wait(runs * steps)
        await until(done)

    async def run_once(self, steps: int) -> None:
        await self._run("chain", steps, handlers=steps)

    async def _run(self, workflow: str, given: int, handlers: int) -> int:
        handle = await self.client.enqueue_async({"queue_name": "bench", "workflow_name": workflow}, given)
        await self.tally.wait(handlers)
        return await handle.get_result(polling_interval_sec=_LOOK_SECONDS)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    opened = await asyncio.to_thread(lambda: DBOSClient(system_database_url=dsn))
    try:
        yield _Client(opened, setup)
    finally:
        await asyncio.to_thread(opened.destroy)


if __name__ == "__main__":
    main(Engine(version("dbos"), prepare=prepare, work=work, client=client, is_slow=True))
