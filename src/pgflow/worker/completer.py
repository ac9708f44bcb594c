"""Collects outcomes and settles them in batches, by size or delay; at once when nothing else is running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from pgflow.db import is_transient
from pgflow.records import Outcome, TaskKey, Verdict
from pgflow.worker.backoff import Backoff
from pgflow.worker.runner import refusal
from pgflow.worker.service import Service

logger = logging.getLogger("pgflow.worker")

_MOST_OUTCOMES = 500
_MOST_BYTES = 8 * 1024 * 1024
#: Batches that may be on their way at once: the second waits for the first where both are of one run, but its tasks
#: were worked on meanwhile.
_FLIGHTS = 2
#: Batches smaller than this would cost the database more than settling a part, while the rest is worked on, gains.
_LEAST_OUTCOMES = 100
#: Seconds that the first outcome of a batch waits for company, while other handlers run; and where another batch is on
#: its way, so that the database has work.
_DELAY = 0.005
_DELAY_BEHIND = 0.025


class Completer(Service):
    """Never loses an outcome: what the database does not take now is kept and sent again.

    `settle` sends a batch and returns its verdicts, `is_busy` says whether more outcomes may come soon, `on_settled`
    is told of every task that is done with, `on_gone` of those whose run or step had ended meanwhile. Of what the
    worker may hold (`capacity`) one half is settled while the other is worked on.
    """

    activity = "settling results"

    def __init__(
        self,
        settle: Callable[[list[Outcome]], Awaitable[list[Verdict]]],
        is_busy: Callable[[], bool],
        on_settled: Callable[[TaskKey], None],
        on_gone: Callable[[TaskKey], None],
        capacity: Callable[[], int] = lambda: 2 * _MOST_OUTCOMES,
    ) -> None:
        super().__init__()
        self._settle = settle
        self._is_busy = is_busy
        self._on_settled = on_settled
        self._on_gone = on_gone
        self._capacity = capacity
        self._pending: deque[Outcome] = deque()
        self._retrying = Backoff(self.activity)
        self._due = asyncio.Event()
        self._flights: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(_FLIGHTS)
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def _most(self) -> int:
        return min(max(self._capacity() // 2, _LEAST_OUTCOMES), _MOST_OUTCOMES)

    def add(self, outcome: Outcome) -> None:
        self._pending.append(outcome)
        self._empty.clear()
        if len(self._pending) >= self._most or not self._is_busy():
            self._due.set()
        self.wake()

    async def flush(self) -> None:
        """Waits until everything added so far is settled."""
        await self._empty.wait()

    async def stop(self) -> None:
        await super().stop()
        for flight in self._flights:
            flight.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)

    async def run_once(self) -> float | None:
        if not self._pending:
            return None
        if not self._due.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DELAY_BEHIND if self._flights else _DELAY):
                    await self._due.wait()
        await self._free.acquire()
        flight = asyncio.create_task(self._settle_all(self._next_batch()), name="pgflow settling")
        self._flights.add(flight)
        flight.add_done_callback(self._landed)
        return 0

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._free.release()
        if not self._pending and not self._flights:
            self._empty.set()

    def _next_batch(self) -> list[Outcome]:
        batch: list[Outcome] = []
        size, most = 0, self._most
        while self._pending and len(batch) < most:
            size += len(self._pending[0].output or b"")
            if batch and size > _MOST_BYTES:
                break
            batch.append(self._pending.popleft())
        if not self._pending:
            self._due.clear()
        return batch

    async def _settle_all(self, batch: list[Outcome]) -> None:
        """Settles a batch; one that the database refuses is halved until the guilty outcome stands alone."""
        try:
            verdicts = await self._persist(batch)
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._settle_all(batch[:middle])
                await self._settle_all(batch[middle:])
            else:
                await self._condemn(batch[0], error)
            return
        for outcome, verdict in zip(batch, verdicts, strict=True):
            if verdict in ("stale", "gone"):
                logger.debug("result of %s refused: %s", outcome.key, verdict)
            self._on_settled(outcome.key)
            if verdict == "gone":
                self._on_gone(outcome.key)

    async def _persist(self, batch: list[Outcome]) -> list[Verdict]:
        """Sends a batch until it was answered; raises what no other try can mend."""
        while True:
            try:
                verdicts = await self._settle(batch)
            except Exception as error:
                if not is_transient(error):
                    raise
                await asyncio.sleep(self._retrying.failed(error))
            else:
                self._retrying.succeeded()
                return verdicts

    async def _condemn(self, outcome: Outcome, error: Exception) -> None:
        try:
            await self._persist([refusal(outcome.key, error)])
        except Exception:
            logger.exception("failure of %s cannot be stored either; its lease will lapse", outcome.key)
        self._on_settled(outcome.key)
