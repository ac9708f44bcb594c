"""What callers may pass, checked before any I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, get_args
from uuid import UUID

from pgflow.errors import FlowMismatch, InvalidInputError
from pgflow.flow import Flow, FlowSpec, codec
from pgflow.flow.schedule import CatchUp, Schedule
from pgflow.records import Run, RunStatus

#: Characters of an idempotency key: what PostgreSQL's indexes can surely hold.
_LONGEST_KEY = 500

#: The longest time ago that PostgreSQL surely reckons with.
_LONGEST_AGE = timedelta(days=365_000)

#: Stands for the input of the run that is run again: None is an input like any other.
SAME_INPUT: Any = object()


def slug_of(flow: Flow[Any, Any] | str) -> str:
    return flow.slug if isinstance(flow, Flow) else flow


def encode_input(flow: Flow[Any, Any] | str, value: Any) -> bytes:
    """A run's input as JSON text; a Flow knows whether it must be a list."""
    return flow.encode_input(value) if isinstance(flow, Flow) else codec.encode(value)


def encode_inputs(flow: Flow[Any, Any] | str, values: Iterable[Any]) -> list[bytes]:
    """Many inputs; an error names the index of the bad one."""
    encoded = []
    for index, value in enumerate(values):
        try:
            encoded.append(encode_input(flow, value))
        except InvalidInputError as error:
            raise InvalidInputError(f"input {index}: {error}") from error
    return encoded


def run_id_of(run: Run | UUID | str) -> UUID:
    """The id of a run that was given as a snapshot, an id or its text; raises InvalidInputError for another text."""
    if isinstance(run, Run):
        return run.run_id
    if isinstance(run, UUID):
        return run
    try:
        return UUID(run)
    except (ValueError, AttributeError, TypeError):
        raise InvalidInputError(f"{run!r} is no run id: expected a UUID, as `pgflow runs` shows them") from None


def checked_keys(keys: Iterable[str | None]) -> list[str | None]:
    """Idempotency keys; raises InvalidInputError for what is none. None stands for a run without a key."""
    found = list(keys)
    for key in found:
        if key is not None and not (isinstance(key, str) and key.isprintable() and 0 < len(key) <= _LONGEST_KEY):
            raise InvalidInputError(
                f"key must be a text of 1 to {_LONGEST_KEY} printable characters, not {repr(key)[:60]}"
            )
    return found


def start_time(at: datetime | None, delay: float | timedelta | None) -> tuple[datetime | None, float | None]:
    """When runs start, as a time or in so many seconds; raises InvalidInputError for what is neither, or both."""
    if at is not None and delay is not None:
        raise InvalidInputError("give at= or delay=, not both")
    if at is not None and not (isinstance(at, datetime) and at.utcoffset() is not None):
        raise InvalidInputError(f"at must be a datetime with a time zone, as datetime.now(UTC) is, not {at!r}")
    if delay is None:
        return at, None
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise InvalidInputError(f"delay must be a number of seconds or a timedelta, from 0 on, not {delay!r}")
    return None, float(seconds)


def checked_age(older_than: timedelta) -> timedelta:
    """How old things are at least that are pruned; raises InvalidInputError for what is no age."""
    if not (isinstance(older_than, timedelta) and timedelta() <= older_than <= _LONGEST_AGE):
        shown = older_than if isinstance(older_than, timedelta) else repr(older_than)
        raise InvalidInputError(
            f"older_than must be an age, at most {_LONGEST_AGE.days:,} days, not {shown}: timedelta(days=30), say"
        )
    return older_than


def check_schedule(name: str, cron: str, time_zone: str, input: Any, catch_up: CatchUp) -> None:
    """Raises InvalidInputError with all that is wrong with a schedule."""
    if faults := list(Schedule(name, cron, time_zone, input, catch_up).faults()):
        raise InvalidInputError(f"schedule {name!r}: " + "; ".join(faults))


def check_compiled(flow: Flow[Any, Any] | FlowSpec, compiled: tuple[str, list[str]]) -> str:
    """How the flow was stored; raises FlowMismatch if another of its slug is there."""
    status, differences = compiled
    if status == "mismatch":
        raise FlowMismatch(flow.slug, differences)
    return status


def check_listing(status: str | None, limit: int) -> None:
    """Raises InvalidInputError for a status there is not, or a limit below 1."""
    if status is not None and status not in get_args(RunStatus):
        raise InvalidInputError(f"status must be one of {', '.join(get_args(RunStatus))}, not {status!r}")
    if limit < 1:
        raise InvalidInputError(f"limit must be at least 1, not {limit}")
