"""What a worker costs the database while there is nothing to do."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest

from pgflow import AsyncClient, Worker
from pgflow.calls import Call
from pgflow.db import SharingDatabase
from tests.support import aeventually, sessions
from tests.worker.support import one_task_flow


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_an_idle_worker_holds_two_connections_and_asks_less_than_once_a_second(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = SharingDatabase.run

    async def counting(self: SharingDatabase, call: Call[object]) -> object:
        asked.append(call.sql)
        return await run(self, call)

    monkeypatch.setattr(SharingDatabase, "run", counting)

    flow = one_task_flow(lambda flow_input: flow_input)
    async with Worker([flow], dsn=dsn):
        async with AsyncClient(dsn) as client:
            await client.wait(await client.start(flow, 1), timeout=30)
        # a third is open for a while when a call takes so long that another does not wait: a slow machine's may
        for _ in range(6):
            await aeventually(lambda: sessions(conn) <= 2, within=60)
            asked.clear()
            began = time.monotonic()
            most = 0
            while (lasted := time.monotonic() - began) < 30:
                await asyncio.sleep(0.5)
                most = max(most, sessions(conn))
            assert 0 < len(asked) < lasted
            if most == 2:
                break
        assert most == 2
