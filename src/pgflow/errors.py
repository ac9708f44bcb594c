"""Every exception that pgflow raises, as one tree.

    PgflowError
    ├── FlowDefinitionError      a flow is not well formed; `faults` lists all that is wrong
    ├── InvalidInputError        a value cannot be stored as JSON, or does not fit what was declared
    ├── DatabaseError
    │   ├── DatabaseUnreachable  nobody answers at the address
    │   ├── SchemaError          the database is not migrated, too new, or somebody else's
    │   ├── FlowNotFound         no flow of this slug in the database
    │   ├── FlowMismatch         the flow in the database has another shape; `differences` lists how
    │   ├── RunNotFound          no run of this id
    │   ├── ScheduleNotFound     no schedule of this name
    │   └── RunStateError        the run stands where this cannot be done to it
    ├── EmbeddedError            the private PostgreSQL cannot be started
    ├── ExecutorError            handlers cannot run where they should
    ├── RunFailed                a run ended without its result
    ├── RunTimeout               a wait ended before its run; the run itself goes on
    └── HandlerSignal            raised by handlers to say how to go on
        ├── Permanent            do not retry
        └── RetryAfter           retry after so many seconds

Messages are one line and say what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID


class PgflowError(Exception):
    """The root of all errors that pgflow raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is unpickled by calling its class with `args`, but ours take other arguments than they keep
        return _restored, (type(self), self.args), self.__dict__


def _restored(cls: type[PgflowError], args: tuple[Any, ...]) -> PgflowError:
    error = cls.__new__(cls)
    error.args = args
    return error


class FlowDefinitionError(PgflowError):
    """A flow is not well formed; nothing was written.

    `faults` holds one line per fault, each with file and line where known.
    """

    def __init__(self, flow_slug: str, faults: Sequence[str]) -> None:
        self.flow_slug = flow_slug
        self.faults = tuple(faults)
        super().__init__(f"flow {flow_slug!r} is not well formed: " + "; ".join(self.faults))


class InvalidInputError(PgflowError, ValueError):
    """A value that cannot be stored as JSON, or that does not fit its declared type."""


class DatabaseError(PgflowError):
    """The database refused, or does not hold what was asked for."""


class DatabaseUnreachable(DatabaseError):
    """Nobody answers at the database's address."""


class SchemaError(DatabaseError):
    """The database's `pgflow` schema is missing, too new, or was made by somebody else."""


class FlowNotFound(DatabaseError):
    """No flow of this slug is in the database."""

    def __init__(self, flow_slug: str) -> None:
        self.flow_slug = flow_slug
        super().__init__(
            f"flow {flow_slug!r} is not in the database: start a worker for it (`pgflow worker MODULE`), or "
            "store it with `pgflow compile FLOW` or client.compile(flow)"
        )


class FlowMismatch(DatabaseError):
    """The flow in the database has another shape than the one in the code."""

    def __init__(
        self,
        flow_slug: str,
        differences: Sequence[str],
        way_out: str = "give the changed flow a new slug, or replace the stored one and its runs with "
        "`pgflow compile FLOW --replace` or client.compile(flow, replace=True)",
    ) -> None:
        self.flow_slug = flow_slug
        self.differences = tuple(differences)
        super().__init__(
            f"flow {flow_slug!r} differs from the one in the database ({'; '.join(self.differences)}): {way_out}"
        )


class RunNotFound(DatabaseError):
    """No run of this id is in the database."""

    def __init__(self, run_id: UUID | str) -> None:
        self.run_id = run_id
        super().__init__(f"no run {run_id} in this database: `pgflow runs` lists those there are")


class ScheduleNotFound(DatabaseError):
    """No schedule of this name is in the database."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no schedule {name!r} in this database: `pgflow schedule list` shows those there are")


class RunStateError(DatabaseError):
    """A run stands where this cannot be done to it: one that has completed cannot be cancelled, say."""


class EmbeddedError(PgflowError):
    """The private PostgreSQL that pgflow brings cannot be started."""


class ExecutorError(PgflowError):
    """Handlers cannot run where they should: something is not installed, or a process cannot find them."""


class RunFailed(PgflowError):
    """A run ended without its result.

    `step`, `task_index` and `attempt` say where; `error` is what the handler raised. They are None where
    no task failed (a condition that was not met, say).
    """

    def __init__(
        self,
        run_id: UUID,
        flow_slug: str,
        *,
        step: str | None,
        task_index: int | None,
        attempt: int | None,
        error: str | None,
    ) -> None:
        self.run_id = run_id
        self.flow_slug = flow_slug
        self.step = step
        self.task_index = task_index
        self.attempt = attempt
        self.error = error
        where = f" in step {step!r}" if step is not None else ""
        if task_index is not None:
            where += f" (task {task_index}, attempt {attempt})"
        super().__init__(f"run {run_id} of flow {flow_slug!r} failed{where}: {error or 'no reason was stored'}")


class RunTimeout(PgflowError, TimeoutError):
    """A wait ended before its run did; the run itself goes on."""

    def __init__(self, run_id: UUID, seconds: float) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has not ended within {seconds:g} s; it goes on: wait for it again")


class HandlerSignal(PgflowError):
    """The base of what handlers raise to say how their task goes on."""


class Permanent(HandlerSignal):
    """Raised by a handler: this task has failed, no retry can mend it."""


class RetryAfter(HandlerSignal):
    """Raised by a handler: try again after `seconds` (an attempt is used up, as by any failure)."""

    def __init__(self, seconds: float, message: str | None = None) -> None:
        try:
            is_time = 0 <= seconds <= 10**9  # no date of PostgreSQL's would be so late
        except TypeError:
            is_time = False
        if not is_time:
            raise ValueError(
                f"RetryAfter takes a number of seconds, from 0 to 10**9, not {seconds!r}: float(text) for a header's"
            )
        self.seconds = float(seconds)
        super().__init__(message or f"retry after {seconds:g} s")
