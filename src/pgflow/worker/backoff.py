"""How long to wait after a failure, and saying so once."""

from __future__ import annotations

import logging
import random
import time

logger = logging.getLogger("pgflow.worker")

_FIRST = 0.1
_LONGEST = 5.0


class Backoff:
    """Counts the failures in a row of one activity; logs the first and the recovery, nothing between.

    backoff = Backoff("settling results")
    pause = backoff.failed(error)        # seconds: 0.1 · 2ⁿ, at most 5, with full jitter on the upper half
    backoff.succeeded()
    """

    def __init__(self, activity: str) -> None:
        self._activity = activity
        self._failures = 0
        self._since = 0.0

    def failed(self, error: BaseException) -> float:
        if self._failures == 0:
            self._since = time.monotonic()
            logger.warning("%s fails, will keep trying: %s", self._activity, error)
        pause = min(_FIRST * 2.0 ** min(self._failures, 16), _LONGEST)
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret

    def succeeded(self) -> None:
        if self._failures:
            away = time.monotonic() - self._since
            logger.warning("%s works again, after %.1f s and %s tries", self._activity, away, self._failures)
            self._failures = 0
