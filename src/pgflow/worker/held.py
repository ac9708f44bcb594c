"""The tasks a worker holds: claimed, and their outcome not settled yet."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pgflow.records import Outcome, Task, TaskKey, Verdict
from pgflow.worker.ahead import MOST_AHEAD, Ahead


@dataclass(slots=True)
class Holding:
    """A claimed task in this worker's hands."""

    task: Task
    key: TaskKey
    taken_at: float = field(default_factory=time.monotonic)
    leased_at: float = field(init=False)
    job: asyncio.Task[Outcome | Verdict] | None = None
    handler: asyncio.Future[Any] | None = None
    lost: bool = False
    _is_cancelled: bool = False
    _cancelled: threading.Event | None = None

    def __post_init__(self) -> None:
        self.leased_at = self.taken_at

    @property
    def age(self) -> float:
        """Seconds since it was claimed."""
        return time.monotonic() - self.taken_at

    @property
    def cancelled(self) -> threading.Event:
        """Set when the handler should stop; made for those handlers that ask for their Context."""
        if self._cancelled is None:
            self._cancelled = threading.Event()
            if self._is_cancelled:
                self._cancelled.set()
        return self._cancelled

    def cancel(self) -> None:
        """Tells the handler that it should stop."""
        self._is_cancelled = True
        if self._cancelled is not None:
            self._cancelled.set()


class Held:
    """All holdings; how many more tasks may be fetched follows from them. `on_change` is called when one is free.

    At most `concurrency` are worked on at once; those that were fetched ahead wait in line.
    A handler that overran its timeout and cannot be stopped (a thread) lingers: its task is settled, but it goes on
    taking up room until it ends. `on_worn` is called when half of the room is lost that way.
    """

    def __init__(
        self,
        concurrency: int,
        on_change: Callable[[], None],
        on_worn: Callable[[], None] = lambda: None,
        *,
        most_ahead: int = MOST_AHEAD,
    ) -> None:
        self._concurrency = concurrency
        self._on_change = on_change
        self._on_worn = on_worn
        self._holdings: dict[TaskKey, Holding] = {}
        self._line: deque[Holding] = deque()
        self._lingering = 0
        self.ahead = Ahead(most_ahead)
        self.working = 0

    @property
    def capacity(self) -> int:
        """How many it may hold, be they worked on, in line, or waiting to be settled."""
        slots = self._concurrency - self._lingering
        return slots + self.ahead.size if slots > 0 else 0

    @property
    def free(self) -> int:
        return self.capacity - len(self._holdings)

    def __len__(self) -> int:
        return len(self._holdings)

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._holdings.values()))

    def add(self, task: Task) -> Holding:
        key = task.key
        holding = self._holdings[key] = Holding(task, key)
        return holding

    def line_up(self, holding: Holding) -> None:
        """It is to be worked on when its turn comes."""
        self._line.append(holding)

    def next_in_line(self) -> Holding | None:
        """The next to be worked on, if a handler may start."""
        if self._line and self.working + self._lingering < self._concurrency:
            return self._line.popleft()
        return None

    def step_back(self, longer_than: float = 0.0) -> list[Holding]:
        """Takes those out of the line that have waited for longer than so many seconds, or all."""
        limit = time.monotonic() - longer_than
        back = []
        while self._line and self._line[0].taken_at <= limit:
            back.append(self._line.popleft())
        return back

    @property
    def has_line(self) -> bool:
        return bool(self._line)

    def drop(self, key: TaskKey) -> None:
        self._holdings.pop(key, None)
        self._on_change()

    def flows_of(self, outcomes: Iterable[Outcome]) -> set[str]:
        """The flows whose tasks these outcomes are of."""
        holdings = (self._holdings.get(outcome.key) for outcome in outcomes)
        return {holding.task.flow_slug for holding in holdings if holding is not None}

    def linger(self, future: asyncio.Future[Any]) -> None:
        self._lingering += 1
        future.add_done_callback(self._lingered)
        if self._lingering * 2 >= self._concurrency:
            self._on_worn()

    def _lingered(self, _: object) -> None:
        self._lingering -= 1
        self._on_change()

    def due(self, older_than: float) -> list[Holding]:
        """Those whose lease was given longer ago than so many seconds; safe to call from another thread."""
        limit = time.monotonic() - older_than
        return [h for h in self._holdings.copy().values() if h.leased_at < limit]

    def doubt(self, run_id: UUID) -> bool:
        """Makes all tasks of a run due, since the run may have ended; returns whether there are any."""
        doubtful = [h for h in self._holdings.values() if h.task.run_id == run_id]
        for holding in doubtful:
            holding.leased_at = -math.inf
        return bool(doubtful)

    def lose(self, keys: Iterable[TaskKey]) -> None:
        """These are somebody else's now, or nobody's: their handlers are told and cancelled, their results dropped;
        those that no handler has begun are given up at once."""
        lost = [h for key in keys if (h := self._holdings.get(key)) is not None and not h.lost]
        for holding in lost:
            holding.lost = True
            holding.cancel()
            if holding.job is not None:
                holding.job.cancel()
            else:
                del self._holdings[holding.key]
        self._line = deque(holding for holding in self._line if not holding.lost)
        if lost:
            self._on_change()
