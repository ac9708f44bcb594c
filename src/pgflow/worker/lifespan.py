"""What is opened around a worker's work, for its handlers to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias, TypeVar

from pgflow.config import SettingsError

W = TypeVar("W")

#: Called with the worker; yields what handlers find in `ctx.resources`, or None for nothing.
Lifespan: TypeAlias = Callable[[W], AbstractAsyncContextManager[Mapping[str, Any] | None]]


async def resources_of(lifespan: Lifespan[W] | None, worker: W, opened: AsyncExitStack) -> Mapping[str, Any]:
    """Opens a lifespan, to be closed with `opened`; raises SettingsError if it is none, or yields no mapping."""
    if lifespan is None:
        return {}
    context = lifespan(worker)
    if not isinstance(context, AbstractAsyncContextManager):
        raise SettingsError(
            f"lifespan gave {type(context).__name__}, not an async context manager: "
            "decorate it with contextlib.asynccontextmanager"
        )
    resources = await opened.enter_async_context(context)
    if resources is not None and not isinstance(resources, Mapping):
        raise SettingsError(
            f"lifespan yielded {type(resources).__name__}: yield a mapping of names to resources, or nothing"
        )
    return resources or {}
