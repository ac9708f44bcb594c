"""Deadlines: waits that end in time."""

from __future__ import annotations

import asyncio

import pytest

from pgflow.worker.deadlines import Deadlines


async def test_a_wait_ends_with_its_future() -> None:
    deadlines, future = Deadlines(), asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(deadlines.wait(future, 60))
    await asyncio.sleep(0)
    future.set_result(1)
    assert await waiting is True
    deadlines.close()


async def test_a_wait_for_what_has_ended_ends_at_once() -> None:
    deadlines, future = Deadlines(), asyncio.get_running_loop().create_future()
    future.set_result(1)
    assert await deadlines.wait(future, 60) is True
    deadlines.close()


async def test_each_wait_ends_at_its_own_time_and_leaves_its_future_alone() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    slow, slower, quick = (loop.create_future() for _ in range(3))
    began = loop.time()
    waits = [asyncio.create_task(deadlines.wait(f, s)) for f, s in ((slow, 0.2), (slower, 0.4), (quick, 60))]
    assert await waits[0] is False
    assert loop.time() - began >= 0.2
    quick.set_result(1)
    assert await waits[2] is True
    assert await waits[1] is False
    assert loop.time() - began >= 0.4
    assert not slow.done()
    assert not slower.done()
    deadlines.close()


async def test_who_waits_may_be_cancelled() -> None:
    deadlines, future = Deadlines(), asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(deadlines.wait(future, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.done()
    deadlines.close()
