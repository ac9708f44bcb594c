"""async handlers, on the worker's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pgflow.executors.base import Result


class LoopExecutor:
    """Each handler is a task of the loop; cancelling its future cancels the handler."""

    def submit(self, fn: Callable[..., Any], arguments: dict[str, Any]) -> asyncio.Future[Result]:
        return asyncio.create_task(_call(fn, arguments))

    def close(self) -> None:
        """Nothing to do: the loop is the worker's."""


async def _call(fn: Callable[..., Any], arguments: dict[str, Any]) -> Result:
    try:
        return Result(value=await fn(**arguments))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Result(error=error)  # the handler's own doing
    except BaseException as error:
        return Result(error=error)
