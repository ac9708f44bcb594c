"""The base of every background part: started, supervised, woken, stopped."""

from __future__ import annotations

import asyncio
import logging

from pgflow.worker.backoff import Backoff

logger = logging.getLogger("pgflow.worker")


class Service:
    """Calls `run_once` again and again; it returns how many seconds to pause, None for "until woken".

    An error is logged once, and `run_once` tried again with backoff until it works.
    """

    activity = "working"
    #: Whether it may bring work, so that who drains waits for its first pause.
    brings_work = False

    def __init__(self) -> None:
        self._backoff = Backoff(self.activity)
        self._awake = asyncio.Event()
        self.rested = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def run_once(self) -> float | None:
        raise NotImplementedError

    def start(self) -> None:
        self._task = asyncio.create_task(self._loop(), name=f"pgflow {self.activity}")

    def wake(self) -> None:
        """Ends the present pause, or the next if there is none."""
        self._awake.set()

    async def stop(self) -> None:
        """Lets a `run_once` that is under way finish, for a second; then cancels it."""
        self._stopping = True
        self.wake()
        if self._task is None:
            return
        _, pending = await asyncio.wait({self._task}, timeout=1)
        for task in pending:
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _loop(self) -> None:
        while not self._stopping:
            try:
                pause = await self.run_once()
                self._backoff.succeeded()
            except Exception as error:
                pause = self._backoff.failed(error)
                logger.debug("%s", self.activity, exc_info=True)
            await self._pause(pause)

    async def _pause(self, seconds: float | None) -> None:
        if seconds != 0:
            self.rested.set()
        if not self._stopping and seconds != 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._awake.wait()
            except TimeoutError:
                return
        self._awake.clear()
