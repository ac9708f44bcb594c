"""Tells the log what handlers raise, without drowning it: a step that fails again and again is summed up."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import dataclass, field
from typing import Protocol

from pgflow.records import Task
from pgflow.worker.error_text import error_text

logger = logging.getLogger("pgflow.worker")

#: Failures of one step that are logged in full within so many seconds; of the others, their number at the end.
_IN_FULL = 5
_SECONDS = 60.0
#: Characters of a traceback.
_LONGEST_TRACEBACK = 20_000
_FAILED = "%s failed, attempt %s of %s: %s"


class Complain(Protocol):
    """Tells the log that a task failed."""

    def __call__(self, task: Task, error: BaseException, *, with_traceback: bool) -> None: ...


@dataclass(slots=True)
class _Count:
    said: int = 0
    unsaid: int = 0
    last: str = ""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Complaints:
    """Per step, the first five failures a minute with their tracebacks, then how many more there were.

        complaints.note(task, error)

    At level DEBUG each of the others has a line, too.
    """

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def note(self, task: Task, error: BaseException, *, with_traceback: bool = True) -> None:
        """A handler raised this, or something of ours did in its stead."""
        step = f"{task.flow_slug}.{task.step_slug}"
        count = self._counts.get(step) or self._begin(step)
        if count.said < _IN_FULL:
            count.said += 1
            in_full(task, error, with_traceback=with_traceback)
        else:
            count.unsaid += 1
            count.last = error_text(error)
            logger.debug(_FAILED, task, task.attempt, task.max_attempts, count.last)

    def close(self) -> None:
        """Says what is still unsaid."""
        for step in list(self._counts):
            self._sum_up(step)

    def _begin(self, step: str) -> _Count:
        timer = asyncio.get_running_loop().call_later(_SECONDS, self._sum_up, step)
        count = self._counts[step] = _Count(timer=timer)
        return count

    def _sum_up(self, step: str) -> None:
        count = self._counts.pop(step)
        if count.timer is not None:
            count.timer.cancel()
        if count.unsaid:
            logger.warning("%s failed %s times more within a minute, the last: %s", step, count.unsaid, count.last)


def in_full(task: Task, error: BaseException, *, with_traceback: bool = True) -> None:
    """One line for this failure, and its traceback."""
    text, shown = error_text(error), None
    if with_traceback:
        printed = _printed(error)
        if printed is None:
            text = f"{text} (its traceback cannot be printed)"
        elif len(printed) > _LONGEST_TRACEBACK:
            text = f"{text}\n… {printed[-_LONGEST_TRACEBACK:]}"
        else:
            shown = error
    logger.warning(_FAILED, task, task.attempt, task.max_attempts, text, exc_info=shown)


def _printed(error: BaseException) -> str | None:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # nested too deeply
        return None
