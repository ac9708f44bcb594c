"""What another process answered, as the runner wants it."""

from __future__ import annotations

from typing import Any

from pgflow.errors import InvalidInputError, Permanent, RetryAfter
from pgflow.executors.base import Result
from pgflow.executors.child import Answer, Failure, FailureKind


class FromProcess(Exception):
    """What a process says of a handler's end; whether that may be retried was judged there."""


def result_of(answer: Answer) -> Result:
    """The output as JSON text, or what was raised; raises InvalidInputError for values that do not fit."""
    if answer.failure is None:
        return Result(value=answer.output)
    if answer.failure.kind == "unfit":
        raise InvalidInputError(answer.failure.message)
    return Result(error=_rebuilt(answer.failure))


def _rebuilt(failure: Failure) -> Exception:
    """An exception with the name, words and meaning of the one in the process."""
    meaning: dict[FailureKind, type[Exception]] = {"permanent": Permanent, "retry_after": RetryAfter}
    bases = (FromProcess, meaning[failure.kind]) if failure.kind in meaning else (FromProcess,)
    kind: Any = type(failure.name, bases, {})
    error: Exception = kind.__new__(kind)
    error.args = (failure.message,)
    if isinstance(error, RetryAfter):
        error.seconds = failure.seconds
    error.__cause__ = _Remote(failure.traceback)
    return error


class _Remote(Exception):
    """The traceback within the process, as a cause that logs print."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
