"""What is opened around a worker's work, for its handlers to use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias, TypeVar

from pgflow.config import SettingsError

W = TypeVar("W")

#: Called with the worker; yields what handlers find in `ctx.resources`, or None for nothing.
Lifespan: TypeAlias = Callable[[W], AbstractAsyncContextManager[Mapping[str, Any] | None]]


async def resources_of(lifespan: Lifespan[W] | None, worker: W, opened: AsyncExitStack) -> Mapping[str, Any]:
    """Opens a lifespan, to be closed with `opened`; raises SettingsError if it is none, or yields no mapping."""
    return {} if lifespan is None else await yielded("lifespan", "resources", lifespan, worker, opened)


async def yielded(
    name: str, things: str, lifespan: Lifespan[W], worker: W, opened: AsyncExitStack
) -> Mapping[str, Any]:
    """What a function that is opened around the work yields; messages speak of its name, and the things yielded."""
    try:
        inspect.signature(lifespan).bind(worker)
    except (TypeError, ValueError):  # ValueError: a builtin that does not tell its parameters
        raise SettingsError(f"{name} must be a function of one argument, the worker, not {lifespan!r}") from None
    context = lifespan(worker)
    if not isinstance(context, AbstractAsyncContextManager):
        raise SettingsError(
            f"{name} gave {type(context).__name__}, not an async context manager: "
            "decorate it with contextlib.asynccontextmanager"
        )
    found = await opened.enter_async_context(context)
    if found is not None and not isinstance(found, Mapping):
        raise SettingsError(f"{name} yielded {type(found).__name__}: yield a mapping of names to {things}, or nothing")
    return found or {}
