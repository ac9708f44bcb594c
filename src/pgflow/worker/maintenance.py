"""What some worker must do now and then, and any may: tasks that stalled go back, or fail their step."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

from pgflow import calls
from pgflow.db import AsyncDatabase
from pgflow.worker.service import Service

#: Seconds between two rounds: a worker is silent for half a lease before it lets go, which leaves time to hear of it.
_INTERVAL = 5.0
#: Looking for stalled tasks of foreign workers reads every task of the steps under way: only every so many rounds.
_ROUNDS = 6


class Maintenance(Service):
    """Each round fails what was given up; every sixth also requeues what other implementations' workers left.

    `on_silence` is called when another worker has fallen silent: who serves many flows must look at all of them to know
    when its leases end."""

    activity = "maintenance"

    def __init__(self, database: AsyncDatabase, on_silence: Callable[[], None]) -> None:
        super().__init__()
        self._database = database
        self._on_silence = on_silence
        self._silent: set[UUID] = set()
        self._round = 0

    async def run_once(self) -> float | None:
        silent = await self._database.run(calls.maintain())
        if not self._silent.issuperset(silent):
            self._on_silence()
        self._silent = set(silent)
        self._round += 1
        if self._round % _ROUNDS == 0:
            await self._database.run(calls.requeue_stalled_tasks())
        return _INTERVAL * random.uniform(0.75, 1.25)  # noqa: S311  # so that workers do not march in step
