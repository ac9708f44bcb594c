"""Hears of new work through LISTEN, so that the fetcher need not poll often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable

from psycopg import AsyncConnection

from pgflow import calls
from pgflow.db import AsyncDatabase
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
        database: AsyncDatabase,
        flow_slugs: Collection[str],
        hear: Callable[[Iterable[str]], None],
        announced: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._database = database
        self._flow_slugs = flow_slugs
        self._tell = hear
        self._announced = announced or (lambda: None)
        self.hears = asyncio.Event()

    async def run_once(self) -> float | None:
        async with self._database.listen(CHANNEL) as connection:
            self._tell(tuple(self._flow_slugs))
            self._announced()
            while not self._stopping:
                await self._prove(connection)
                self._backoff.succeeded()
                await self._hear(connection, _PROOF_INTERVAL)
        return 0

    async def stop(self) -> None:
        self._stopping = True
        if self._task is not None:
            self._task.cancel()  # it only ever waits
        await super().stop()

    async def _prove(self, connection: AsyncConnection) -> None:
        """Sends itself a notification and waits for it.

        On another connection: behind a pooler this one may meet, by chance, the very session that listens for it,
        and hear what is said in answer to its own statement, but nothing afterwards.
        """
        token = f"proof {id(self)} {time.monotonic_ns()}"
        await self._database.run(calls.notify(CHANNEL, token))
        heard = await self._hear(connection, _PROOF_TIMEOUT, until=token)
        if heard and not self.hears.is_set():
            self.hears.set()
        elif not heard:
            self.hears.clear()
            raise ConnectionError(
                "notifications do not arrive (a pooler in transaction mode?); polling instead: "
                "set PGFLOW_LISTEN_URL to a direct address"
            )

    async def _hear(self, connection: AsyncConnection, seconds: float, *, until: str | None = None) -> bool:
        """Listens for so many seconds, or until this payload came; whether it did."""
        deadline = time.monotonic() + seconds
        heard = False
        while not heard and (left := deadline - time.monotonic()) > 0:
            # ends with the packet that brought something: leaving it in its middle would lose the rest of it
            async for notification in connection.notifies(timeout=left, stop_after=1):
                heard = heard or notification.payload == until
                if notification.payload in self._flow_slugs:
                    self._tell((notification.payload,))
                elif notification.payload.startswith(_ANNOUNCED):
                    self._announced()
        return heard
