"""What some worker must do now and then, and any may: tasks that stalled go back, or fail their step."""

from __future__ import annotations

import random

from pgflow import calls
from pgflow.db import AsyncDatabase
from pgflow.worker.service import Service

_INTERVAL = 5.0
#: Looking for stalled tasks of foreign workers reads every task of the steps under way: only every so many rounds.
_ROUNDS = 6


class Maintenance(Service):
    """Each round fails what was given up; every sixth also requeues what other implementations' workers left."""

    activity = "maintenance"

    def __init__(self, database: AsyncDatabase) -> None:
        super().__init__()
        self._database = database
        self._round = 0

    async def run_once(self) -> float | None:
        await self._database.run(calls.fail_stalled_tasks())
        self._round += 1
        if self._round % _ROUNDS == 0:
            await self._database.run(calls.requeue_stalled_tasks())
        return _INTERVAL * random.uniform(0.75, 1.25)  # noqa: S311  # so that workers do not march in step
