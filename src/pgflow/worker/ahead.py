"""How many tasks a worker holds beyond those that its handlers work on."""

from __future__ import annotations

import time

#: A moment lasts so many round trips, so that two batches can be on their way while the rest is worked on; but so many
#: seconds at least, and at most.
_ROUND_TRIPS = 4
_SHORTEST = 0.05
_LONGEST = 0.2
#: What is left of the best that was seen, after each moment.
_MEMORY = 0.9
#: More would make no batch larger.
MOST_AHEAD = 1000
_MOST_BYTES = 16 * 1024 * 1024


class Ahead:
    """As many as handlers got through in a moment: quick handlers then never wait for the database, and their results
    and new tasks travel in large batches, the larger the longer the database takes; of slow ones hardly any waits here
    that another worker could work on.

    ahead.ended()                    # a handler has ended
    ahead.fetched(count, size)       # so many tasks came, with so many bytes of inputs
    ahead.answered(seconds)          # the database took so long
    ahead.size                       # 0 until handlers have shown how quick they are
    """

    def __init__(self, most: int = MOST_AHEAD) -> None:
        self._most = most
        self._moment = _SHORTEST
        self._began_at = time.monotonic()
        self._count = 0
        self._best = 0.0
        self._input_bytes = 1.0
        self._round_trip = 0.0

    def ended(self) -> None:
        self._turn()
        self._count += 1

    def fetched(self, count: int, size: int) -> None:
        if count:
            self._input_bytes += (max(size / count, 1.0) - self._input_bytes) / 2

    def answered(self, seconds: float) -> None:
        self._round_trip += (seconds - self._round_trip) / 4

    @property
    def size(self) -> int:
        self._turn()
        return int(min(max(self._best, self._count), self._most, _MOST_BYTES / self._input_bytes))

    def _turn(self) -> None:
        """Closes the books of the moments that have passed."""
        now = time.monotonic()
        passed = int((now - self._began_at) / self._moment)
        if passed > 0:
            self._best = max(self._count, self._best * _MEMORY) * _MEMORY ** (passed - 1)
            self._began_at, self._count = now, 0
            moment = min(max(_ROUND_TRIPS * self._round_trip, _SHORTEST), _LONGEST)
            # less in a shorter one; but no more in a longer one than was seen: many slow handlers may end together
            self._best *= min(moment / self._moment, 1)
            self._moment = moment
