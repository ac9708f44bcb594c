"""How many tasks a worker holds beyond those that its handlers work on."""

from __future__ import annotations

import time

#: Seconds of work that may wait for a handler.
_HORIZON = 0.05
#: What is left of the best that was seen, after each horizon.
_MEMORY = 0.9
#: More would make no batch larger.
MOST_AHEAD = 1000
_MOST_BYTES = 16 * 1024 * 1024


class Ahead:
    """As many as handlers got through in a moment: quick handlers then never wait for the database, and their results
    and new tasks travel in large batches; of slow ones hardly any waits here that another worker could work on.

    ahead.ended()                    # a handler has ended
    ahead.fetched(count, size)       # so many tasks came, with so many bytes of inputs
    ahead.size                       # 0 until handlers have shown how quick they are
    """

    def __init__(self, most: int = MOST_AHEAD) -> None:
        self._most = most
        self._moment = 0
        self._count = 0
        self._best = 0.0
        self._input_bytes = 1.0

    def ended(self) -> None:
        self._turn()
        self._count += 1

    def fetched(self, count: int, size: int) -> None:
        if count:
            self._input_bytes += (max(size / count, 1.0) - self._input_bytes) / 2

    @property
    def size(self) -> int:
        self._turn()
        return int(min(max(self._best, self._count), self._most, _MOST_BYTES / self._input_bytes))

    def _turn(self) -> None:
        """Closes the books of the moments that have passed."""
        moment = int(time.monotonic() / _HORIZON)
        if moment != self._moment:
            self._best = max(self._count, self._best * _MEMORY) * _MEMORY ** (moment - self._moment - 1)
            self._moment, self._count = moment, 0
