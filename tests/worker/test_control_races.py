"""Runs are cancelled, retried, rerun, paused and resumed at random while two workers are busy with them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Permanent, Worker
from pgflow.errors import RunStateError
from tests.sql.control.test_races import check_invariants
from tests.support import aeventually, rows

ACTIONS = 200


def unreliable(healthy: asyncio.Event) -> Flow[int, dict[str, int]]:
    """Its output is four times its input, plus six; the last step notes once per run that it was reached."""
    flow: Flow[int, dict[str, int]] = Flow("unreliable", max_attempts=2, base_delay=0)
    chance = random.Random(1)

    def stumble() -> None:
        if not healthy.is_set() and chance.random() < 0.2:
            raise chance.choice([ValueError, Permanent])("stumbled")

    @flow.step
    async def numbers(flow_input: int) -> list[int]:
        return [flow_input + n for n in range(4)]

    @flow.map(over=numbers)
    async def slowly(number: int) -> int:
        await asyncio.sleep(chance.random() / 20)
        stumble()
        return number

    @flow.step
    def in_a_thread(slowly: list[int]) -> list[int]:
        stumble()
        return slowly

    @flow.step(transactional=True)
    async def total(in_a_thread: list[int], ctx: Context) -> int:
        await ctx.connection.execute("insert into reached values (%s)", [ctx.run_id])
        await asyncio.sleep(chance.random() / 50)
        stumble()
        return sum(in_a_thread)

    return flow


class Operator:
    """Does at random what people do to runs."""

    def __init__(self, client: AsyncClient, flow: Flow[int, dict[str, int]]) -> None:
        self.client = client
        self.flow = flow
        self.random = random.Random(2)
        self.done: Counter[str] = Counter()

    async def act(self) -> None:
        actions = {"start": 8, "cancel": 4, "retry": 8, "rerun": 3, "pause": 1, "resume": 6}
        (action,) = self.random.choices([*actions], [*actions.values()])
        try:
            await getattr(self, action)()
            self.done[action] += 1
        except RunStateError:  # it ended, or went on, in between
            self.done["refused"] += 1

    async def start(self) -> None:
        await self.client.start(self.flow, self.random.randrange(100))

    async def cancel(self) -> None:
        for run in await self.client.list_runs(self.flow, status="started", limit=5):
            await self.client.cancel(run)

    async def retry(self) -> None:
        for status in ("failed", "cancelled"):
            for run in await self.client.list_runs(self.flow, status=status, limit=5):
                await self.client.retry(run)

    async def rerun(self) -> None:
        for run in (await self.client.list_runs(self.flow, limit=50))[-1:]:
            await self.client.rerun(run, self.random.choice([*self.flow.steps]))

    async def pause(self) -> None:
        await self.client.pause(self.flow)

    async def resume(self) -> None:
        await self.client.resume(self.flow)


@pytest.mark.slow
async def test_every_run_comes_to_its_end_and_every_effect_happens_once(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("create table reached (run_id uuid)")
    healthy = asyncio.Event()
    flow = unreliable(healthy)
    async with (
        Worker([flow], dsn=dsn, concurrency=8, lease=2) as one,
        Worker([flow], dsn=dsn, concurrency=8, lease=2) as two,
        AsyncClient(dsn) as client,
    ):
        operator = Operator(client, flow)
        for _ in range(ACTIONS):
            await operator.act()
        assert set(operator.done) >= {"start", "cancel", "retry", "rerun", "pause", "resume"}
        check_invariants(conn, "unreliable")

        healthy.set()
        await client.resume(flow)
        while unended := [run for run in await client.list_runs(flow, limit=1000) if run.status != "completed"]:
            for run in unended:
                if run.status != "started":
                    await client.retry(run)
                await client.wait(run, timeout=120)
        runs = await client.list_runs(flow, limit=1000)
        await aeventually(lambda: one._held.free == two._held.free == 8)
    check_invariants(conn, "unreliable")
    assert [run.output for run in runs] == [{"total": 4 * run.input + 6} for run in runs]
    reached = dict(rows(conn, "select run_id, count(*) from reached group by run_id"))
    assert reached == {run.run_id: 1 for run in runs}
