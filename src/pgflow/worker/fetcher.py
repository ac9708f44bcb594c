"""Polls for tasks whenever there is room for them and reason to expect some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pgflow.records import Polled, Task
from pgflow.worker.held import Held
from pgflow.worker.service import Service


class Fetcher(Service):
    """Woken by the listener and by freed room; otherwise looks when the next message becomes visible, and every
    `poll_interval` seconds at the latest."""

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

    def room(self) -> None:
        """A task is done with: a reason to poll only if the last poll left some behind."""
        if self._more:
            self.wake()

    async def run_once(self) -> float | None:
        room = self._held.free
        if room <= 0:
            self._more = True
            return None
        polled = await self._poll(room)
        for task in polled.tasks:
            self._take(task)
        self._more = len(polled.tasks) >= room
        if self._more:
            return 0
        soonest = self._poll_interval if polled.next_visible_in is None else polled.next_visible_in
        return min(max(soonest, 0.001), self._poll_interval)
