"""Cron expressions: which slots of a schedule are due. Pure: the time is always given.

    next_slot("*/5 * * * *", "Europe/Berlin", now)               # the first one after `now`
    missed_slots("0 3 * * *", "UTC", done_until, now, most=1)    # the latest one in between, if there is any

A slot is an instant, in UTC. Where clocks are put forward or back it is as in Debian's cron: what falls into the hour
that is left out comes right after it, what falls into the hour that comes twice comes the first time; but expressions
whose minute or hour begins with `*` follow the clock as it shows, hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pgflow.errors import InvalidInputError

#: Longer than any hour that comes twice, and than what else is odd about the days when clocks change.
_MARGIN = timedelta(hours=3)


def cron_fault(cron: object, time_zone: object) -> str | None:
    """Why this is no schedule; None if it is one.

    cron_fault("*/5 * * *", "UTC")       # "cron '*/5 * * *' is not valid (it has not five fields): …"
    """
    try:
        next_slot(cron, time_zone, datetime.now(UTC))  # type: ignore[arg-type]
    except InvalidInputError as error:
        return str(error)
    return None


def next_slot(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first slot after an instant; raises InvalidInputError where there is none, or for a bad expression."""
    for slot in _slots(cron, time_zone, after):
        if slot > after:  # in an hour that comes twice, the clock does not say which time it is
            return slot
    raise InvalidInputError(f"cron {cron!r} never comes: is there such a date?")


def first_slot(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """`next_slot`, or None where that raises: what the database holds, anybody may have written."""
    try:
        return next_slot(cron, time_zone, after)
    except InvalidInputError:
        return None


def missed_slots(cron: str, time_zone: str, after: datetime, until: datetime, *, most: int) -> list[datetime]:
    """The latest `most` slots after one instant and not after another, the earliest first.

    Costs what `most` slots cost, however long ago `after` is.
    """
    start = after
    backwards = takewhile(lambda slot: slot > after, _slots(cron, time_zone, until, reverse=True))
    for slot in islice(backwards, most, None):
        # Going back finds the neighbourhood only: it passes over slots where clocks change by half an hour.
        start = max(after, slot - _MARGIN)
        break
    forwards = takewhile(lambda slot: slot <= until, _slots(cron, time_zone, start))
    found = dict.fromkeys(slot for slot in forwards if slot > after)  # two times of a left-out hour are one instant
    return list(found)[-most:]


def _slots(cron: str, time_zone: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    zone = _zone(time_zone)
    fault = None if isinstance(cron, str) and len(cron.split()) == 5 else "it has not five fields"
    try:
        moments = None if fault else CronSim(cron, start.astimezone(zone), reverse=reverse)
    except (CronSimError, AssertionError, ValueError) as error:
        fault = str(error) or "it cannot be read"
    if fault or moments is None:
        raise InvalidInputError(
            f"cron {cron!r} is not valid ({fault}): expected minute, hour, day of month, month and day of week, "
            "as in '*/5 * * * *'"
        )
    return (moment.astimezone(UTC) for moment in moments)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, TypeError, LookupError):
        raise InvalidInputError(f"time zone {name!r} is not known here: expected a name like 'Europe/Berlin'") from None
