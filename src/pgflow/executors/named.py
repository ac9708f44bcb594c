"""Handlers in executors of the user's own: pools, clusters, whatever is a `concurrent.futures.Executor`."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pgflow.errors import InvalidInputError
from pgflow.executors import child as inside
from pgflow.executors.answers import FromProcess, result_of
from pgflow.executors.base import Result, Unstoppable
from pgflow.executors.child import Answer, Job
from pgflow.executors.naming import name_of
from pgflow.executors.ray import RayExecutor
from pgflow.flow import Step

#: Those whose futures say whether they run, or can be cancelled while they do. Dask's can, and say that they were: it
#: forgets a task that runs on, and sends the next one to the thread that is still busy with it.
_CANCELLING = (concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor, RayExecutor)


class ExecutorFailed(FromProcess):
    """An executor did not run a handler, or not to its end."""


class NamedExecutor:
    """An executor under the name by which these steps ask for it.

        result = await named.submit(Job(…))

    It gets jobs as our own processes do: a step by its name, values as JSON text. It is not ours to shut down. Raises
    ExecutorError for steps that no other process could find.
    """

    def __init__(self, name: str, executor: concurrent.futures.Executor, steps: Iterable[Step[Any, Any]]) -> None:
        self._name = name
        self._executor = executor
        self._names = {step: name_of(step) for step in steps}

    def name(self, step: Step[Any, Any]) -> str:
        """`module:flow#step`."""
        return self._names[step]

    def submit(self, job: Job) -> asyncio.Future[Result]:
        """A future of the handler's Result; raises ExecutorFailed if the executor is shut down or broken."""
        try:
            scheduled = self._executor.submit(inside.run, job)
        except Exception as error:
            raise ExecutorFailed(f"executor {self._name!r} took no task ({_words(error)})") from error
        return _Running(self._name, scheduled, may_cancel=isinstance(self._executor, _CANCELLING))


class _Running(Unstoppable):
    """Done when the executor has done with it, so that a handler that cannot be stopped is not taken for ended."""

    def __init__(self, name: str, scheduled: concurrent.futures.Future[Answer], *, may_cancel: bool) -> None:
        super().__init__()
        self._name = name
        self._scheduled = scheduled
        self._may_cancel = may_cancel
        scheduled.add_done_callback(self._tell)

    def cancel(self, msg: Any = None) -> bool:
        """Whether it ends, or never begins: what has begun in a thread or a pool's process goes on."""
        if self._may_cancel:
            with suppress(Exception):  # a cluster that is gone
                return self._scheduled.cancel()
        return False

    def _tell(self, _: object) -> None:
        """Called in some thread of the executor's."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits for this any more
            self.get_loop().call_soon_threadsafe(self._end)

    def _end(self) -> None:
        try:
            answer = self._scheduled.result()
        except BaseException as error:
            failed = ExecutorFailed(f"executor {self._name!r} lost a task ({_words(error)})")
            failed.__cause__ = error
            self.set_result(Result(error=failed))
            return
        try:
            self.set_result(result_of(answer))
        except InvalidInputError as error:
            self.set_exception(error)
            self.exception()  # where the handler overran its timeout, nobody else looks at it


def _words(error: BaseException) -> str:
    message = inside.message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
