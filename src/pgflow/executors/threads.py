"""Plain handlers, in threads."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pgflow.executors.base import Result, Unstoppable


@dataclass(slots=True)
class _Job:
    fn: Callable[..., Any]
    arguments: dict[str, Any]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Result]


class ThreadExecutor:
    """As many threads as were ever needed at once.

    They are daemons, unlike those of concurrent.futures: a handler that never returns must not keep the process from
    exiting. A thread cannot be stopped.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def submit(self, fn: Callable[..., Any], arguments: dict[str, Any]) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        job = _Job(fn, arguments, contextvars.copy_context(), loop, Unstoppable(loop=loop))
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                self._threads += 1
                threading.Thread(target=self._work, name=f"pgflow-handler-{self._threads}", daemon=True).start()
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result = call(partial(job.context.run, job.fn), job.arguments)
            with self._lock:
                self._idle += 1
            try:
                job.loop.call_soon_threadsafe(job.future.set_result, result)
            except RuntimeError:
                return  # the loop is closed: nobody waits for this any more


def call(fn: Callable[..., Any], arguments: dict[str, Any]) -> Result:
    """Calls a handler; raises nothing."""
    try:
        return Result(value=fn(**arguments))
    except BaseException as error:
        return Result(error=error)
