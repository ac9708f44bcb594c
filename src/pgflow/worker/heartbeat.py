"""Keeps the worker's tasks its own: in a thread and on a connection of its own, so that a blocked event loop or a
busy pool does not cost a lease."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable

from pgflow.calls import Call
from pgflow.config import load
from pgflow.db import Database
from pgflow.records import TaskKey
from pgflow.worker.backoff import Backoff
from pgflow.worker.held import Held


class Heartbeat:
    """Beats every third of a lease, and extends the leases that are older than a sixth of one: so all are good for half
    a lease at any time, which is the silence that the database takes for an outage (_note_outage.sql). `beat` makes the
    call for these tasks; `on_lost` is told, on the loop, of those that are no longer the worker's."""

    def __init__(
        self,
        dsn: str,
        lease: int,
        held: Held,
        beat: Callable[[Iterable[TaskKey]], Call[list[TaskKey]]],
        on_lost: Callable[[list[TaskKey]], None],
    ) -> None:
        self._dsn = dsn
        self._lease = lease
        self._call = beat
        self._held = held
        self._on_lost = on_lost
        self._backoff = Backoff("the heartbeat")
        self._stopped = threading.Event()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._beat, args=(loop,), name="pgflow-heartbeat", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """The next beat is due at once."""
        self._due.set()

    async def stop(self) -> None:
        self._stopped.set()
        self._due.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 1)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.is_set():
            pause = self._lease / 3
            try:
                with Database(load(dsn=self._dsn), max_size=1) as database:
                    while not self._stopped.is_set():
                        self._beat_once(database, loop)
                        self._backoff.succeeded()
                        self._due.wait(pause)
                        self._due.clear()  # before the look at _stopped, which is set before _due
            except Exception as error:
                # not longer than until the next beat is due: the leases run on
                self._stopped.wait(min(self._backoff.failed(error), pause))

    def _beat_once(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        due = self._held.due(self._lease / 6)
        lost = database.run(self._call([h.key for h in due]))
        for holding in due:
            if holding.key not in lost:
                holding.leased_at = now
        if lost:
            loop.call_soon_threadsafe(self._on_lost, lost)
