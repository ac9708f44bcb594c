"""Polls for tasks whenever there is room for them and reason to expect some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pgflow.records import Polled, Task
from pgflow.worker.held import Held
from pgflow.worker.service import Service


class Fetcher(Service):
    """Woken by the listener and by freed room; otherwise looks when the next message becomes visible, and every
    `poll_interval` seconds at the latest. Whoever settles results fetches more tasks in the same round trip."""

    activity = "fetching tasks"

    def __init__(
        self,
        poll: Callable[[int], Awaitable[Polled]],
        held: Held,
        take: Callable[[Task], None],
        poll_interval: float,
    ) -> None:
        super().__init__()
        self._poll = poll
        self._held = held
        self._take = take
        self._poll_interval = poll_interval
        self._more = True
        self._alarm: asyncio.TimerHandle | None = None

    def room(self) -> None:
        """A task is done with: a reason to poll only if the last poll left some behind."""
        if self._more:
            self.wake()

    def wanted(self, settling: int) -> int:
        """How many tasks to fetch along with so many outcomes that are about to be settled."""
        return max(self._held.free + settling, 0)

    def fetched(self, polled: Polled, asked: int) -> None:
        """Hands tasks on, and sees to it that more are looked for in time."""
        for task in polled.tasks:
            self._take(task)
        self._more = len(polled.tasks) >= asked
        if self._alarm is not None:
            self._alarm.cancel()
        soonest = self._poll_interval if polled.next_visible_in is None else polled.next_visible_in
        pause = min(max(soonest, 0.001), self._poll_interval)
        self._alarm = asyncio.get_running_loop().call_later(pause, self.wake)

    async def run_once(self) -> float | None:
        room = self._held.free
        if room <= 0:
            self._more = True
            return None
        self.fetched(await self._poll(room), room)
        return 0 if self._more else None

    async def stop(self) -> None:
        await super().stop()
        if self._alarm is not None:
            self._alarm.cancel()
