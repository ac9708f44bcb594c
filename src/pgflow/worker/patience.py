"""Hands back what has waited too long for a handler: another worker may have one free."""

from __future__ import annotations

from collections.abc import Callable

from pgflow.worker.held import Held, Holding
from pgflow.worker.service import Service

#: Seconds that a task may wait in line; usually it waits for a few milliseconds.
_LONGEST_WAIT = 1.0


class Patience(Service):
    """Woken when tasks line up: `hand_back` gets those for which no handler became free in time."""

    activity = "handing back tasks that wait"

    def __init__(self, held: Held, hand_back: Callable[[Holding], None]) -> None:
        super().__init__()
        self._held = held
        self._hand_back = hand_back

    async def run_once(self) -> float | None:
        for holding in self._held.step_back(longer_than=_LONGEST_WAIT):
            self._hand_back(holding)
        return _LONGEST_WAIT / 2 if self._held.has_line else None
