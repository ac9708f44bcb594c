"""Starts the runs of schedules. Every worker does, for the schedules of all flows; there is no leader.

A worker reckons what is due from a schedule's row and the database's clock; who fires first moves the row on, and the
others find that theirs is out of date. So neither their number nor their clocks matter.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from pgflow import calls
from pgflow.db import AsyncDatabase, is_transient
from pgflow.flow.cron import missed_slots, next_slot
from pgflow.records import DueSchedule
from pgflow.worker.service import Service

logger = logging.getLogger("pgflow.worker")

#: Seconds until new schedules are looked for.
_INTERVAL = 10.0
#: How many missed slots are fired at most, the latest ones, with catch_up="all".
MOST_CAUGHT_UP = 100
#: Older than that, a slot was missed: with catch_up="none" nobody fires it any more.
ON_TIME = timedelta(minutes=1)
#: When to look again at a schedule that cannot be understood.
_LATER = timedelta(hours=1)


class Scheduler(Service):
    """Looks when the next slot comes, and every ten seconds at the latest.

    `clock` stands for the database's, in tests.
    """

    activity = "firing schedules"
    brings_work = True

    def __init__(self, database: AsyncDatabase, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__()
        self._database = database
        self._clock = clock

    async def run_once(self) -> float | None:
        now = self._clock() if self._clock else None
        soon = await self._database.run(calls.due_schedules(_INTERVAL, now=now))
        pause, failed = _INTERVAL, None
        for schedule in soon:
            if schedule.next_at is not None and schedule.next_at > schedule.now:
                pause = min(pause, (schedule.next_at - schedule.now).total_seconds())
            else:
                try:
                    await self._fire(schedule)
                except Exception as error:  # the others' slots must not wait for it
                    failed = error
                pause = 0.0  # its next slot may be near
        if failed is not None:
            raise failed
        return pause + random.uniform(0, 0.1) if pause else 0  # noqa: S311  # so that not all workers come at once

    async def _fire(self, due: DueSchedule) -> None:
        next_at = due.now + _LATER
        try:
            next_at = next_slot(due.cron, due.time_zone, max(due.now, due.done_until))
            slots = due_slots(due)
            runs = await self._database.run(calls.fire_schedule(due, slots, next_at))
        except Exception as error:
            if is_transient(error):
                raise
            logger.warning("schedule %s cannot be fired: %s", due.name, error)
            await self._database.run(calls.fire_schedule(due, [], next_at, error=str(error)))
        else:
            if runs and leaves_some_out(due):  # said once: who was slower than others has no runs
                logger.warning(
                    "schedule %s missed more than %d slots: what came before %s is not made up for",
                    due.name, MOST_CAUGHT_UP, slots[0],
                )  # fmt: skip
            for run in runs:
                logger.info("schedule %s started run %s of %s", due.name, run.run_id, run.flow_slug)


def leaves_some_out(due: DueSchedule) -> bool:
    """Whether there were more slots than are fired with catch_up="all"."""
    most = MOST_CAUGHT_UP + 1
    return due.catch_up == "all" and (
        len(missed_slots(due.cron, due.time_zone, due.done_until, due.now, most=most)) == most
    )


def due_slots(due: DueSchedule) -> list[datetime]:
    """The slots to fire now, by the schedule's catch-up policy, the earliest first."""
    most = MOST_CAUGHT_UP if due.catch_up == "all" else 1
    slots = missed_slots(due.cron, due.time_zone, due.done_until, due.now, most=most)
    return [slot for slot in slots if due.catch_up != "none" or slot >= due.now - ON_TIME]
