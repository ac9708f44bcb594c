"""When the fetcher polls: here what it asks is answered by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pgflow.records import Polled
from pgflow.worker.fetcher import Fetcher
from pgflow.worker.held import Held

NOTHING = Polled((), None)


async def test_work_that_is_heard_of_while_all_room_is_promised_is_looked_for_afterwards() -> None:
    """Else it waits for the poll interval: the poll under way may have looked just before it was there."""
    polls: asyncio.Queue[int] = asyncio.Queue()

    async def poll(flows: Sequence[str], qty: int) -> Polled:
        polls.put_nowait(qty)
        return NOTHING

    held = Held(2, lambda: None)
    fetcher = Fetcher(poll, ["solo"], held, lambda task: None, 1000.0, lambda polled: None)
    fetcher.start()
    assert await polls.get() == held.free

    async def settle_and_poll(flows: Sequence[str], qty: int) -> tuple[list[str], Polled]:
        fetcher.hear(["solo"])
        await asyncio.sleep(0.05)  # time enough for the fetcher to find that there is no room
        assert polls.empty()
        return [], NOTHING

    await fetcher.along([], settle_and_poll)
    assert await asyncio.wait_for(polls.get(), 20) == held.free
    await asyncio.sleep(0.05)
    assert polls.empty()  # once
    await fetcher.stop()
