"""What callers may pass, checked before any I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args
from uuid import UUID

from pgflow.errors import InvalidInputError
from pgflow.flow import Flow, codec
from pgflow.records import Run, RunStatus

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


def check_listing(status: str | None, limit: int) -> None:
    """Raises InvalidInputError for a status there is not, or a limit below 1."""
    if status is not None and status not in get_args(RunStatus):
        raise InvalidInputError(f"status must be one of {', '.join(get_args(RunStatus))}, not {status!r}")
    if limit < 1:
        raise InvalidInputError(f"limit must be at least 1, not {limit}")
