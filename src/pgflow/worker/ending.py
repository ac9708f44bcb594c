"""The one deadline of a worker's end: its grace period, and a moment for all the rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger("pgflow.worker")

#: Seconds after the grace period in which results are stored, good-byes said and connections closed.
LAST = 2.0


class Ending:
    """Counts from the moment when a worker is asked to stop, whoever notices first; safe in every thread.

    ending.begin()
    await ending.in_time(completer.stop, heartbeat.stop)
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._begun: float | None = None

    def begin(self) -> None:
        """From now on it counts; a second time changes nothing."""
        if self._begun is None:
            self._begun = time.monotonic()

    def left(self, after_grace: float = LAST) -> float | None:
        """Seconds until so long after the grace period, at least 0; None if it has not begun."""
        if self._begun is None:
            return None
        return max(self._begun + self._grace + after_grace - time.monotonic(), 0)

    async def in_time(self, *closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Calls these at once; what has not ended at the deadline is left to end by itself.

        It is not cancelled: psycopg, whose cancelled queries wait for the server, would only take longer.
        """
        tasks = [asyncio.ensure_future(close()) for close in closing]
        done, late = await asyncio.wait(tasks, timeout=self.left())
        for task in late:
            logger.debug("left behind: %r", task)
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # somebody has looked
        for task in done:
            task.result()
