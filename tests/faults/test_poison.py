"""One bad task takes neither its worker nor its neighbours down, and says what it was."""

from __future__ import annotations

import pytest

from pgflow import AsyncClient, Run, Worker
from tests.faults.poisons import DEADLY, ON_LOOP, POISONS, in_processes, in_threads, on_loop

EXECUTORS = {
    "loop": (on_loop, POISONS | ON_LOOP),
    "threads": (in_threads, POISONS),
    "processes": (in_processes, POISONS | DEADLY),
}


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
async def test_poison(dsn: str, executor: str) -> None:
    flow, poisons = EXECUTORS[executor]
    inputs = [name for poison in poisons for name in (poison, f"beside {poison}")]
    async with Worker([flow], dsn=dsn, concurrency=4, handler_processes=2) as worker, AsyncClient(dsn) as client:
        ended: dict[str, Run] = {}
        for run in await client.start_many(flow, inputs):
            ended[run.input] = await client.wait(run, timeout=100)
        assert worker.worker_id
    errors = {name: (run.error or "")[: len(poisons.get(name, ("", ""))[1] or "")] for name, run in ended.items()}
    assert {n: e for n, e in errors.items() if e} == {n: e for n, (_, e) in poisons.items() if e}
