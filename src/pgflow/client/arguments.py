"""What callers may pass, checked before any I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_args
from uuid import UUID

from pydantic import BaseModel

from pgflow.errors import FlowMismatch, InvalidInputError
from pgflow.flow import Flow, FlowSpec, Step, codec
from pgflow.flow.schedule import CatchUp, Schedule
from pgflow.records import Run, RunStatus

T = TypeVar("T")

#: Characters of an idempotency key: what PostgreSQL's indexes can surely hold.
_LONGEST_KEY = 500

#: Seconds that a start may be put off, some 31 years, as with RetryAfter.
_LONGEST_DELAY = 10**9
#: The longest time ago that PostgreSQL surely reckons with.
_LONGEST_AGE = timedelta(days=365_000)

_MOST_LISTED = 1_000_000_000
_LONGEST_SHOWN = 60

#: Stands for the input of the run that is run again: None is an input like any other.
SAME_INPUT: Any = object()


def slug_of(flow: Flow[Any, Any] | FlowSpec | str) -> str:
    """The slug of a flow that was given as such, or by its slug; raises InvalidInputError for what is neither."""
    if isinstance(flow, Flow | FlowSpec):
        return flow.slug
    if not isinstance(flow, str):
        raise InvalidInputError(f"expected a pgflow.Flow, or the slug of a stored one, not {_shown(flow)}")
    return flow


def step_slug_of(step: Step[Any, Any] | str) -> str:
    """The slug of a step; raises InvalidInputError for what is none."""
    if not isinstance(step, Step | str):
        raise InvalidInputError(f"expected a step of the flow, or its slug, not {_shown(step)}")
    return step.slug if isinstance(step, Step) else step


def encode_input(flow: Flow[Any, Any] | str, value: Any) -> bytes:
    """A run's input as JSON text; a Flow knows whether it must be a list."""
    return flow.encode_input(value) if isinstance(flow, Flow) else codec.encode(value)


def encode_inputs(flow: Flow[Any, Any] | str, values: Iterable[Any]) -> list[bytes]:
    """Many inputs; an error names the index of the bad one."""
    encoded = []
    for index, value in enumerate(_listed("inputs", values)):
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


def run_ids_of(run_ids: Iterable[UUID | str] | None, inputs: int) -> list[UUID] | None:
    """The ids of new runs, one per input; raises InvalidInputError. None lets the database choose."""
    return None if run_ids is None else [run_id_of(run_id) for run_id in _one_per_input("run_ids", run_ids, inputs)]


def checked_keys(keys: Iterable[str | None] | None, inputs: int) -> list[str | None] | None:
    """Idempotency keys, one per input; raises InvalidInputError. None stands for a run without a key."""
    if keys is None:
        return None
    found = _one_per_input("keys", keys, inputs)
    for key in found:
        if key is not None and not (isinstance(key, str) and key.isprintable() and 0 < len(key) <= _LONGEST_KEY):
            raise InvalidInputError(
                f"key must be a text of 1 to {_LONGEST_KEY} printable characters, not {_shown(key)}"
            )
    return found


def _one_per_input(name: str, values: Iterable[T], inputs: int) -> list[T]:
    found = _listed(name, values)
    if len(found) != inputs:
        raise InvalidInputError(f"{name} must be as many as inputs: {len(found)} for {inputs}")
    return found


def _listed(name: str, values: Iterable[T]) -> list[T]:
    """Refuses what would be taken for its characters, keys or fields."""
    if isinstance(values, str | bytes | Mapping | BaseModel) or not isinstance(values, Iterable):
        raise InvalidInputError(f"pass a list of {name}, one per run, not {_shown(values)}")
    return list(values)


def start_time(at: datetime | None, delay: float | timedelta | None) -> tuple[datetime | None, float | None]:
    """When runs start, as a time or in so many seconds; raises InvalidInputError for what is neither, or both."""
    if at is not None and delay is not None:
        raise InvalidInputError("give at= or delay=, not both")
    if at is not None and not (isinstance(at, datetime) and at.utcoffset() is not None):
        raise InvalidInputError(f"at must be a datetime with a time zone, as datetime.now(UTC) is, not {at!r}")
    if delay is None:
        return at, None
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if not are_seconds(seconds) or seconds > _LONGEST_DELAY:
        raise InvalidInputError(
            f"delay must be a number of seconds or a timedelta, from 0 to {_LONGEST_DELAY:,} s, not {_shown(delay)}"
        )
    return None, float(seconds)


def checked_timeout(timeout: float | None) -> float:
    """Seconds to wait at most, without end for None; raises InvalidInputError for what is no such number."""
    if timeout is not None and not are_seconds(timeout):
        raise InvalidInputError(f"timeout must be a number of seconds, from 0 on, not {_shown(timeout)}")
    return math.inf if timeout is None else timeout


def checked_reason(reason: str | None) -> str | None:
    """Why a run is cancelled; raises InvalidInputError for what is no text."""
    if reason is not None and not isinstance(reason, str):
        raise InvalidInputError(f"reason must be a text, not {_shown(reason)}")
    return reason


def are_seconds(value: object) -> bool:
    """Whether this is a number, and none below 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def checked_age(older_than: timedelta) -> timedelta:
    """How old things are at least that are pruned; raises InvalidInputError for what is no age."""
    if not (isinstance(older_than, timedelta) and timedelta() <= older_than <= _LONGEST_AGE):
        shown = older_than if isinstance(older_than, timedelta) else _shown(older_than)
        raise InvalidInputError(
            f"older_than must be an age, at most {_LONGEST_AGE.days:,} days, not {shown}: timedelta(days=30), say"
        )
    return older_than


def check_schedule(name: str, cron: str, time_zone: str, input: Any, catch_up: CatchUp) -> None:
    """Raises InvalidInputError with all that is wrong with a schedule."""
    if faults := list(Schedule(name, cron, time_zone, input, catch_up).faults()):
        raise InvalidInputError(f"schedule {name!r}: " + "; ".join(faults))


def check_flow(flow: Flow[Any, Any] | FlowSpec) -> None:
    """Raises InvalidInputError for what is no flow that could be stored."""
    if not isinstance(flow, Flow | FlowSpec):
        raise InvalidInputError(
            f"expected a pgflow.Flow or a FlowSpec, not {_shown(flow)}: FlowSpec.load makes one of plain data, "
            "FlowBuilder.build of a builder"
        )


def check_compiled(flow: Flow[Any, Any] | FlowSpec, compiled: tuple[str, list[str]]) -> str:
    """How the flow was stored; raises FlowMismatch if another of its slug is there."""
    status, differences = compiled
    if status == "mismatch":
        raise FlowMismatch(flow.slug, differences)
    return status


def as_stored(flow: Flow[Any, Any], differences: Sequence[str]) -> str:
    """What is said of a start whose flow is another one in the database; no error, since versions may overlap."""
    return f"runs go by what is stored: {FlowMismatch(flow.slug, differences)}"


def check_listing(status: str | None, limit: int, before: Run | datetime | None) -> None:
    """Raises InvalidInputError for a status there is not, a limit out of range, or what is no place to go on at."""
    if status is not None and status not in get_args(RunStatus):
        raise InvalidInputError(f"status must be one of {', '.join(get_args(RunStatus))}, not {status!r}")
    if type(limit) is not int or not 1 <= limit <= _MOST_LISTED:
        raise InvalidInputError(f"limit must be a whole number from 1 to {_MOST_LISTED:,}, not {_shown(limit)}")
    if before is not None and not isinstance(before, Run | datetime):
        raise InvalidInputError(f"before must be a run of an earlier listing or a datetime, not {_shown(before)}")


def _shown(value: object) -> str:
    """The beginning of a value, for messages."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
