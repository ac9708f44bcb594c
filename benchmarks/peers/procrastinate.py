"""Procrastinate: a queue, no results, no DAG. A run of 3 steps is a job whose handler defers the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import procrastinate

from peers.harness import Engine, Setup, main, until


def _app(dsn: str, setup: Setup) -> procrastinate.App:
    # Its own advice: about as many connections as jobs at once, within what the server allows.
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=1, max_size=min(setup.concurrency + 3, 20))
    app = procrastinate.App(connector=connector)

    @app.task(name="step")
    async def step(left: int) -> None:
        await setup.handle()
        if left:
            await app.configure_task("step").defer_async(left=left - 1)
        setup.tally.add()

    return app


async def prepare(dsn: str) -> None:
    async with _app(dsn, Setup()).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def work(dsn: str, setup: Setup) -> None:
    async with _app(dsn, setup).open_async() as app:
        setup.ready()
        await app.run_worker_async(concurrency=setup.concurrency, install_signal_handlers=False)


class _Client:
    def __init__(self, app: procrastinate.App, setup: Setup) -> None:
        self.app = app
        self.tally = setup.tally

    async def fan_out(self, items: int) -> None:
        await self.start_runs(items, 1)
        await self.finish_runs(items, 1)

    async def start_runs(self, runs: int, steps: int) -> None:
        await self.app.configure_task("step").batch_defer_async(*({"left": steps - 1} for _ in range(runs)))

    async def finish_runs(self, runs: int, steps: int) -> None:
        async def done() -> bool:
            unfinished = "select exists (select from procrastinate_jobs where status in ('todo', 'doing')) as some"
            return not (await self.app.connector.execute_query_one_async(unfinished))["some"]

        await self.tally.wait(runs * steps)
        await until(done)

    async def run_once(self, steps: int) -> None:
        await self.app.configure_task("step").defer_async(left=steps - 1)
        await self.tally.wait(steps)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    async with _app(dsn, setup).open_async() as app:
        yield _Client(app, setup)


if __name__ == "__main__":
    main(Engine(version("procrastinate"), prepare=prepare, work=work, client=client, is_slow=True))
