"""What a user's code opens around a worker's work: what it raises is no fault of ours, and no wrong use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any

from pgflow.cli.flows import place
from pgflow.errors import PgflowError

logger = logging.getLogger("pgflow.worker")


class OpeningFailed(PgflowError):
    """A lifespan, or a function that yields executors, raised; its traceback is in the log."""


def blamed(name: str, opener: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose errors, also those of what it opens, are told as its own: `name` is what it is called."""

    @wraps(opener)
    def opened(*arguments: Any) -> Any:
        with _blaming(name):
            context = opener(*arguments)
        return _Blamed(name, context) if isinstance(context, AbstractAsyncContextManager) else context

    return opened


class _Blamed(AbstractAsyncContextManager[Any]):
    def __init__(self, name: str, context: AbstractAsyncContextManager[Any]) -> None:
        self._name = name
        self._context = context

    async def __aenter__(self) -> Any:
        with _blaming(self._name):
            return await self._context.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        with _blaming(self._name, passing=exc):
            return await self._context.__aexit__(exc_type, exc, tb)


@contextmanager
def _blaming(name: str, passing: BaseException | None = None) -> Iterator[None]:
    """Errors that pass through are those of the work, and ours say themselves what to do."""
    try:
        yield
    except PgflowError:
        raise
    except Exception as error:
        if error is passing:
            raise
        logger.exception("%s failed", name)
        raise OpeningFailed(f"{name} failed: {type(error).__name__}: {error}{place(error)}") from error
