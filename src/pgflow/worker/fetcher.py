"""Polls for tasks whenever there is room for them and reason to expect some."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from pgflow.errors import DatabaseError, DatabaseUnreachable
from pgflow.records import Outcome, Polled, Task, Verdict
from pgflow.worker.attention import Attention
from pgflow.worker.held import Held
from pgflow.worker.service import Service

logger = logging.getLogger("pgflow.worker")

Settled: TypeAlias = tuple[list[Verdict], Polled]
#: settle_and_poll for outcomes: of these flows, so many tasks, and only such as follow from these.
SettleAndPoll: TypeAlias = Callable[[Sequence[str], int, bool], Awaitable[Settled]]


class Fetcher(Service):
    """Woken by the listener and by freed room; otherwise looks when the next message becomes visible, and every
    `poll_interval` seconds at the latest. Whoever settles results fetches more tasks in the same round trip."""

    activity = "fetching tasks"

    def __init__(
        self,
        poll: Callable[[Sequence[str], int], Awaitable[Polled]],
        flow_slugs: Sequence[str],
        held: Held,
        take: Callable[[Task], None],
        poll_interval: float,
        on_polled: Callable[[Polled], None],
        hears: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._poll = poll
        self._attention = Attention(flow_slugs)
        self._held = held
        self._take = take
        self._poll_interval = poll_interval
        self._on_polled = on_polled
        self._hears = hears
        self._more = False
        self._put_off = False
        self._promised = 0
        self._refused: set[str] = set()
        self._alarm: asyncio.TimerHandle | None = None

    def serve(self, flow_slugs: Iterable[str]) -> None:
        """Fetches tasks of these flows, and of no others, from now on."""
        self._attention.serve(flow_slugs)
        self.wake()

    def hear(self, flow_slugs: Iterable[str]) -> None:
        """These flows may have work: looks at once."""
        self._attention.notice(flow_slugs)
        self.wake()

    def look_everywhere(self) -> None:
        """Polls for all flows, now and from now on."""
        self._attention.ask_all()
        self.wake()

    def room(self) -> None:
        """A task is done with: a reason to poll only if the last poll left some behind, or one had to be put off."""
        if self._more or self._put_off:
            self.wake()

    async def run_once(self) -> float | None:
        await self._await_room()
        if self._stopping:
            return None
        with self._room() as room, self._attention.asking() as flows:
            polled = await self._poll_apart(flows, room)
            self._fetched(flows, polled, room)
        self._on_polled(polled)
        return 0 if self._more else None

    async def along(self, outcomes: Sequence[Outcome], settle_and_poll: SettleAndPoll) -> list[Verdict]:
        """Settles outcomes and fetches, in one round trip, as many tasks as there will be room for."""
        settled = self._held.flows_of(outcomes)
        with self._room(len(outcomes)) as room:
            if self._is_caught_up:
                flows = self._attention.served(settled)
                verdicts, polled = await self._timed(settle_and_poll(flows, room, True))
                self._hand_on(polled.tasks)  # no queue was read: nothing to learn of what waits there
                return verdicts
            with self._attention.asking(settled) as flows:
                verdicts, polled = await self._timed(settle_and_poll(flows, room, False))
                self._fetched(flows, polled, room)
                return verdicts

    async def _timed(self, answer: Awaitable[Settled]) -> Settled:
        asked = time.monotonic()
        settled = await answer
        self._held.ahead.answered(time.monotonic() - asked)
        return settled

    @property
    def _is_caught_up(self) -> bool:
        """Whether nothing waits that we are not going to hear of."""
        return not self._more and not self._put_off and self._hears()

    async def _poll_apart(self, flows: Sequence[str], room: int) -> Polled:
        """Polls all flows at once; one by one where that fails, so that one's trouble does not hold up the others."""
        try:
            return await self._poll(flows, room)
        except DatabaseUnreachable:
            raise
        except DatabaseError as error:
            if len(flows) == 1:
                raise
            logger.debug("fetching from each flow by itself, since from all it fails: %s", error)
        tasks: list[Task] = []
        due: list[float] = []
        for flow in flows:
            try:
                polled = await self._poll([flow], room - len(tasks))
            except DatabaseUnreachable:
                raise
            except DatabaseError as error:
                if flow not in self._refused:  # said once
                    logger.warning("no tasks of flow %s can be fetched, will keep trying: %s", flow, error)
                self._refused.add(flow)
                continue
            self._refused.discard(flow)
            tasks += polled.tasks
            due += [polled.next_visible_in] if polled.next_visible_in is not None else []
        return Polled(tuple(tasks), min(due, default=None))

    async def _await_room(self) -> None:
        """A poll for which there is no room is put off, not left out: what it was to look for may have come too late
        for one that is under way."""
        while not self._stopping and self._left() == 0:
            self._put_off = True
            await self._awake.wait()
            self._awake.clear()
        self._put_off = False

    def _left(self, settling: int = 0) -> int:
        """For how many tasks nobody asks yet."""
        return max(self._held.free - self._promised + settling, 0)

    @contextmanager
    def _room(self, settling: int = 0) -> Iterator[int]:
        """How many tasks to ask for; what one poll asks for, another that is under way meanwhile must not."""
        room = self._left(settling)
        promise = max(room - settling, 0)
        self._promised += promise
        try:
            yield room
        finally:
            self._promised -= promise
            if promise and self._put_off:
                self.wake()

    def _fetched(self, flows: Sequence[str], polled: Polled, asked: int) -> None:
        """Hands tasks on, and sees to it that more are looked for in time."""
        self._hand_on(polled.tasks)
        self._more = len(polled.tasks) >= asked
        self._attention.learn(flows, polled, is_full=self._more)
        if self._alarm is not None:
            self._alarm.cancel()
        pause = self._attention.pause(self._poll_interval)
        self._alarm = asyncio.get_running_loop().call_later(pause, self.wake)

    def _hand_on(self, tasks: Sequence[Task]) -> None:
        self._held.ahead.fetched(len(tasks), sum(len(task.input) for task in tasks))
        for task in tasks:
            self._take(task)

    async def stop(self) -> None:
        await super().stop()
        if self._alarm is not None:
            self._alarm.cancel()
