"""Hears of new work through LISTEN, so that the fetcher need not poll often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from pgflow import calls
from pgflow.db import SharingDatabase
from pgflow.worker.service import Service

logger = logging.getLogger("pgflow.worker")

CHANNEL = "pgflow_work"
#: Seconds between two proofs that notifications arrive, and how long one may take.
_PROOF_INTERVAL = 60.0
_PROOF_TIMEOUT = 5.0


#: What a payload begins with that names no flow with work but one that was made or changed (_announce_flow).
_ANNOUNCED = "+"


class Listener(Service):
    """Tells `hear` which of these flows have work; all of them after a reconnect: something may have been missed.
    Flows may be added and taken away. `announced` is called when a flow was made, or changed, as data.

    It notifies itself now and then: a pooler may accept LISTEN and stay silent. Then the fetcher's polling has to do,
    which is said once.
    """

    activity = "listening for work"

    def __init__(
        self,
        database: SharingDatabase,
        flow_slugs: Collection[str],
        hear: Callable[[Iterable[str]], None],
        announced: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._database = database
        self._flow_slugs = flow_slugs
        self._tell = hear
        self._announced = announced or (lambda: None)
        #: While we hear of all work: notifications arrive, as far as we know, and are sent.
        self.hears = asyncio.Event()
        self._proof = ""
        self._proven = asyncio.Event()

    async def run_once(self) -> float | None:
        try:
            async with self._database.hearing(CHANNEL, self._hear) as lost:
                self._tell(tuple(self._flow_slugs))
                self._announced()
                while not self._stopping:
                    if await self._prove():
                        self.hears.set()
                    else:
                        self.hears.clear()
                    self._backoff.succeeded()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(lost.wait(), _PROOF_INTERVAL)
                        raise ConnectionError("the connection was lost")
        finally:
            self.hears.clear()
        return 0

    async def stop(self) -> None:
        self._stopping = True
        if self._task is not None:
            self._task.cancel()  # it only ever waits
        await super().stop()

    async def _prove(self) -> bool:
        """Sends itself a notification and waits for it; returns whether work is notified, too.

        Behind a pooler on another connection: this one may meet, by chance, the very session that listens for it,
        and hear what is said in answer to its own statement, but nothing afterwards.
        """
        self._proof = f"proof {id(self)} {time.monotonic_ns()}"
        self._proven.clear()
        is_work_notified = await self._database.run(calls.notify(CHANNEL, self._proof))
        try:
            await asyncio.wait_for(self._proven.wait(), _PROOF_TIMEOUT)
        except TimeoutError:
            raise ConnectionError(
                "notifications do not arrive (a pooler in transaction mode?); polling instead: "
                "set PGFLOW_LISTEN_URL to a direct address"
            ) from None
        return is_work_notified

    def _hear(self, payload: str) -> None:
        if payload == self._proof:
            self._proven.set()
        elif payload in self._flow_slugs:
            self._tell((payload,))
        elif payload.startswith(_ANNOUNCED):
            self._announced()
