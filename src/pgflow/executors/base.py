"""What the runner asks of an executor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Result:
    """How a handler ended: with a value, or with what it raised.

    A value and not an exception, since asyncio lets some exceptions through to the loop (SystemExit,
    KeyboardInterrupt) and cannot carry others at all (StopIteration).
    """

    value: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        """The value; raises HandlerRaised if there is none."""
        if self.error is not None:
            raise HandlerRaised(self.error)
        return self.value


class Unstoppable(asyncio.Future[Result]):
    """A future of a handler that goes on whatever one does: done when that has ended, and not before."""

    def cancel(self, msg: Any = None) -> bool:
        return False


class HandlerRaised(Exception):
    """What a handler raised, whatever it was, as an Exception."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Executor(Protocol):
    """Runs handlers somewhere; `submit` returns at once."""

    def submit(self, fn: Callable[..., Any], arguments: dict[str, Any]) -> asyncio.Future[Result]:
        """A future of the handler's Result; cancelling it stops the handler, or returns False if that cannot be."""
        ...

    def close(self) -> None:
        """Takes nothing new; does not wait for handlers that still run."""
        ...
