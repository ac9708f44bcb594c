"""When a worker that is to work only what is there has nothing left to do."""

from __future__ import annotations

import asyncio

from pgflow.records import Polled

#: Seconds; what becomes due within them is waited for.
HORIZON = 1.0


class Drain:
    """Over when two polls in a row have found nothing while nothing was held: a message may become visible just while
    one looks."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._quiet = 0

    def looked(self, polled: Polled, held: int) -> bool:
        """What a poll of all flows found; returns whether to look again at once."""
        soon = polled.next_visible_in is not None and polled.next_visible_in <= HORIZON
        self._quiet = 0 if held or polled.tasks or soon else self._quiet + 1
        if self._quiet > 1:
            self.over.set()
        return self._quiet == 1
