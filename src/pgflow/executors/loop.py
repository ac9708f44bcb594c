"""async handlers, on the worker's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pgflow.executors.base import Result


class LoopExecutor:
    """Each handler is a task of the loop; cancelling its future cancels the handler."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Result]] = set()

    def submit(self, fn: Callable[..., Any], arguments: dict[str, Any]) -> asyncio.Future[Result]:
        task = asyncio.create_task(call_async(fn, arguments))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def close(self) -> None:
        """Gives up handlers that ignored their cancellation: `asyncio.run` would wait for them for ever."""
        for task in self._running:
            asyncio.tasks._unregister_task(task)


async def call_async(fn: Callable[..., Any], arguments: dict[str, Any]) -> Result:
    """Awaits a handler; raises nothing but the CancelledError of who waits for it."""
    try:
        return Result(value=await fn(**arguments))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Result(error=error)  # the handler's own doing
    except BaseException as error:
        return Result(error=error)
