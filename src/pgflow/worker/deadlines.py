"""Waits that end in time, with one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import Any

#: Seconds between two looks at what is overdue; a wait may be longer by as much.
_TICK = 0.1


class Deadlines:
    """What `asyncio.wait` with a timeout does for one future, at half its cost: a worker does it for every task.

    if not await deadlines.wait(future, seconds=60):
        ...                          # it has not ended; it goes on
    """

    def __init__(self) -> None:
        self._due: dict[asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: asyncio.Future[Any], seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def release(_: object) -> None:
            if not waiter.done():
                waiter.set_result(None)

        future.add_done_callback(release)
        self._due[waiter] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(_TICK, self._look)
        try:
            await waiter
        finally:
            del self._due[waiter]
            future.remove_done_callback(release)
        return future.done()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for waiter, at in self._due.items():
            if at <= now and not waiter.done():
                waiter.set_result(None)
        self._timer = loop.call_later(_TICK, self._look) if self._due else None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
