"""Whether a task that failed is tried again, and when: the part of it that only the handler's own code can know.

    retry = Retry(max_delay=60, jitter=0.5, retry_on=(ConnectionError,))
    retry.is_final(ValueError())          # True: another kind of exception
    retry.delay(base_delay=5, attempt=3)  # 20 to 40 seconds: 5 · 2³, less up to half of it

How often, and the doubling of base_delay where neither max_delay nor jitter is given, is the database's business.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from pgflow.errors import Permanent, RetryAfter

#: What may be given as retry_on and no_retry_on.
Exceptions: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | list[type[BaseException]]

#: Seconds: a year. What doubles soon gets longer than PostgreSQL can reckon with.
_LONGEST = 366 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What a flow or a step says of retries; None says nothing. Times are seconds."""

    max_delay: float | None = None
    jitter: float | None = None
    retry_on: Exceptions | None = None
    no_retry_on: Exceptions | None = None

    def over(self, other: Retry) -> Retry:
        """These, and the other's where these say nothing."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return Retry(**{name: getattr(other, name) if value is None else value for name, value in given.items()})

    def faults(self) -> Iterator[str]:
        """What is wrong with the values."""
        if self.max_delay is not None and not (_is_number(self.max_delay) and 0 <= self.max_delay <= _LONGEST):
            yield f"max_delay must be a number of seconds, at most {_LONGEST:.0f}, not {self.max_delay!r}"
        if self.jitter is not None and not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            yield f"jitter must be a number from 0 to 1 (the part of the delay left to chance), not {self.jitter!r}"
        for name in ("retry_on", "no_retry_on"):
            given = getattr(self, name)
            for kind in given if isinstance(given, tuple | list) else () if given is None else (given,):
                if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    yield f"{name} takes an exception class, or a list of them, not {kind!r}"

    def is_final(self, error: BaseException) -> bool:
        """Whether no retry is wanted after this error."""
        if isinstance(error, Permanent | RetryAfter):
            return isinstance(error, Permanent)
        if self.no_retry_on is not None and isinstance(error, _kinds(self.no_retry_on)):
            return True
        return self.retry_on is not None and not isinstance(error, _kinds(self.retry_on))

    def delay(self, base_delay: float, attempt: int) -> float | None:
        """Seconds until the next attempt; None leaves it to the database.

        `min(max_delay, base_delay · 2ⁿ)` after the n-th attempt, less a random part of it: at most `jitter`, uniformly.
        """
        if self.max_delay is None and not self.jitter:
            return None
        seconds = min(base_delay * 2.0 ** min(attempt, 62), _LONGEST if self.max_delay is None else self.max_delay)
        return seconds * random.uniform(1 - (self.jitter or 0), 1)  # noqa: S311  # no secret


#: Everything is left to the flow, or to the database.
NOTHING_SAID = Retry()


#: Their names, as decorators take them.
OPTIONS_OF_RETRIES = tuple(f.name for f in fields(Retry))


def _kinds(given: Exceptions) -> tuple[type[BaseException], ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
