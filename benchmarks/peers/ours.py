"""py-pgflow, from this working tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from peers.harness import Engine, Setup, forever, main, until
from pgflow import AsyncClient, Flow, Worker, schema


def flows(setup: Setup) -> list[Flow]:
    """A fan-out with its aggregate, and chains of one and of three steps."""
    fan = _fan_out_of_texts(setup) if setup.scenario.element_bytes else _fan_out_of_numbers(setup)
    one = Flow("chain1")

    @one.step(slug="first")
    async def only(flow_input: int) -> int:
        await setup.handle()
        setup.tally.add()
        return flow_input

    three = Flow("chain3")

    @three.step
    async def first(flow_input: int) -> int:
        await setup.handle()
        setup.tally.add()
        return flow_input

    @three.step
    async def second(first: int) -> int:
        await setup.handle()
        setup.tally.add()
        return first

    @three.step
    async def third(second: int) -> int:
        await setup.handle()
        setup.tally.add()
        return second

    return [fan, one, three]


def _fan_out_of_numbers(setup: Setup) -> Flow:
    fan = Flow("fan_out")

    @fan.step
    def items(flow_input: int) -> list[int]:
        return setup.elements(flow_input)

    @fan.map(over=items)
    async def element(item: int) -> int:
        await setup.handle()
        return item

    fan.step(count)
    return fan


def _fan_out_of_texts(setup: Setup) -> Flow:
    fan = Flow("fan_out")

    @fan.step
    def items(flow_input: int) -> list[str]:
        return setup.elements(flow_input)

    @fan.map(over=items)
    async def element(item: str) -> int:
        await setup.handle()
        return len(item)

    fan.step(count)
    return fan


async def count(element: list[int]) -> int:
    return len(element)


async def prepare(dsn: str) -> None:
    await asyncio.to_thread(schema.migrate, dsn)


async def work(dsn: str, setup: Setup) -> None:
    async with Worker(flows(setup), dsn=dsn, concurrency=setup.concurrency):
        setup.ready()
        await forever()


class _Client:
    def __init__(self, client: AsyncClient, setup: Setup) -> None:
        self.client = client
        self.tally = setup.tally
        self.fan, *chains = flows(setup)
        self.chains = dict(zip((1, 3), chains, strict=True))

    async def fan_out(self, items: int) -> None:
        run = await self.client.wait(await self.client.start(self.fan, items))
        assert run.output == {"count": items}, run

    async def start_runs(self, runs: int, steps: int) -> None:
        await self.client.start_many(self.chains[steps], range(runs))

    async def finish_runs(self, runs: int, steps: int) -> None:
        async def done() -> bool:
            return not await self.client.list_runs(self.chains[steps], status="started", limit=1)

        await self.tally.wait(runs * steps)
        await until(done)

    async def run_once(self, steps: int) -> None:
        run = await self.client.wait(await self.client.start(self.chains[steps], 1))
        assert run.status == "completed", run


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    async with AsyncClient(dsn) as opened:
        yield _Client(opened, setup)


if __name__ == "__main__":
    main(Engine(version("py-pgflow"), prepare=prepare, work=work, client=client))
