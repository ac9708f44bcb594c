"""Handlers with executor="process": in processes that can be killed without harm to anything else."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pgflow.errors import ExecutorError
from pgflow.executors import child as inside
from pgflow.executors.answers import FromProcess, result_of
from pgflow.executors.base import Result
from pgflow.executors.child import Answer, Job
from pgflow.executors.naming import name_of
from pgflow.flow import Step

#: Seconds that a task waits for a free process. Its lease ends 2 s after its timeout, counted from its claim, and the
#: handler shall have the whole of its timeout: so whoever waits longer goes back to the queue.
_PATIENCE = 1.0
#: Seconds for an answer to come out of the pipe of a process that has ended.
_LAST_WORDS = 0.5
_GUARD = "a script must start its work under `if __name__ == '__main__':`, since processes import it"


class ProcessDied(FromProcess):
    """The process of a handler ended before the handler did."""


class NoFreeProcess(Exception):
    """All processes are busy: the task should go back to the queue."""


class ProcessExecutor:
    """At most `count` processes, started when they are needed, for the handlers of these steps.

        async with processes.child() as child:
            result = await child.submit(Job(…))

    Cancelling what `submit` returned kills the process, which is then replaced. Raises ExecutorError for steps that
    no other process could find. Whoever starts it must close it, also when starting fails.
    """

    def __init__(self, steps: Iterable[Step[Any, Any]], *, count: int, max_tasks: int = 0) -> None:
        if importlib.util.find_spec("pebble") is None:
            raise ExecutorError("executor='process' needs pebble: run `pip install 'py-pgflow[processes]'`")
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise ExecutorError(f"a handler's process starts a worker by importing the script: {_GUARD}")
        self._names = {step: name_of(step) for step in steps}
        self._count = count
        self._max_tasks = max_tasks
        self._free: asyncio.LifoQueue[_Child] = asyncio.LifoQueue()
        self._children: set[_Child] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    def name(self, step: Step[Any, Any]) -> str:
        """`module:flow#step`."""
        return self._names[step]

    async def start(self) -> None:
        """Starts the first process; raises ExecutorError if it cannot find the steps."""
        first = self._add()
        try:
            fault = await first.call(inside.check, list(self._names.values()))
        except ProcessDied as error:
            raise ExecutorError(
                f"no process for handlers can be started ({error}): see its own words; {_GUARD}"
            ) from error
        if fault is not None:
            raise ExecutorError(f"a process for handlers cannot find their steps ({fault}): {_GUARD}")
        self._free.put_nowait(first)

    @asynccontextmanager
    async def child(self) -> AsyncIterator[_Child]:
        """A process that is ready; raises NoFreeProcess if none becomes free soon."""
        child = await self._acquire()
        try:
            yield child
        finally:
            self._give_back(child)

    async def close(self) -> None:
        """Kills every process."""
        self._closed = True
        for child in self._children:
            child.kill()
        await asyncio.gather(*(child.close() for child in self._children))
        await asyncio.gather(*self._chores, return_exceptions=True)

    async def _acquire(self) -> _Child:
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    if self._free.empty() and len(self._children) < self._count:
                        self._chore(self._ready(self._add()))
                    child = await self._free.get()
                    if child.is_alive:
                        return child
                    self._discard(child)  # somebody killed it while it had nothing to do
        except TimeoutError:
            raise NoFreeProcess from None

    def _give_back(self, child: _Child) -> None:
        if child.is_idle and (self._max_tasks == 0 or child.jobs < self._max_tasks) and not self._closed:
            self._free.put_nowait(child)
            return
        self._discard(child)
        if not self._closed:
            self._chore(self._ready(self._add()))

    def _add(self) -> _Child:
        child = _Child()
        self._children.add(child)
        return child

    def _discard(self, child: _Child) -> None:
        child.kill()
        self._children.discard(child)
        self._chore(child.close())

    async def _ready(self, child: _Child) -> None:
        """Lets a new process import the steps' modules before a handler's time begins to count."""
        with suppress(ProcessDied):  # whoever takes it sees that it is dead, or what its import raises
            await child.call(inside.check, list(self._names.values()))
        self._free.put_nowait(child)

    def _chore(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


class _Child:
    """One process. It is the only one of its pool: processes of one pool share a pipe and its locks, so that one
    which is killed at the wrong moment would take its neighbours along."""

    def __init__(self) -> None:
        from pebble import ProcessPool  # an extra

        self.jobs = 0
        self.is_idle = True
        self._joining: asyncio.Future[None] | None = None
        self._context = _Context()
        level = logging.getLogger().level if logging.getLogger().handlers else None
        self._pool: Any = ProcessPool(1, initializer=inside.prepare, initargs=(level,), context=self._context)

    @property
    def is_alive(self) -> bool:
        return self._context.processes[0].is_alive()

    def submit(self, job: Job) -> asyncio.Task[Result]:
        """Runs a handler; cancelling the task kills the process."""
        return asyncio.create_task(self._run(job))

    async def _run(self, job: Job) -> Result:
        self.jobs += 1
        try:
            answer: Answer = await self.call(inside.run, job)
        except ProcessDied as error:
            return Result(error=error)
        return result_of(answer)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """What a function returns in the process; raises ProcessDied if that ends first."""
        loop = asyncio.get_running_loop()
        self.is_idle = False
        try:
            scheduled = self._pool.schedule(fn, args)
        except RuntimeError:  # its process was killed a moment ago
            raise ProcessDied("the process for the handler died before it began") from None
        # never cancelled: a pool whose future is cancelled while it sets the result loses its thread
        answer = asyncio.wrap_future(scheduled)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody has looked
        died: asyncio.Future[None] = loop.create_future()
        process = self._context.processes[0]
        loop.add_reader(process.sentinel, _resolve, died)
        try:
            await asyncio.wait({answer, died}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await asyncio.wait({answer}, timeout=_LAST_WORDS)
            if answer.done() and answer.exception() is None:
                self.is_idle = True
                return answer.result()
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            loop.remove_reader(process.sentinel)
        await self.close()
        raise ProcessDied(f"the process that ran the handler died ({_how(process.exitcode)})")

    def kill(self) -> None:
        self._pool.stop()  # first: it must not start another one
        self._context.kill()

    async def close(self) -> None:
        """Waits, for some tenths of a second, until the pool's threads and its process have ended."""
        self.kill()
        if self._joining is None:
            self._joining = asyncio.ensure_future(asyncio.to_thread(self._pool.join))
        await asyncio.shield(self._joining)


class _Process(SpawnProcess):
    """Spawned, not forked: a fork of a process with threads may inherit locks that nobody will ever open."""

    def start(self) -> None:
        # until it has handlers for them, no signal to the process group may end it with a traceback
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def terminate(self) -> None:
        """A handler may be in C code, deaf to SIGTERM; pebble would wait 3 s for it."""
        self.kill()


class _Context(SpawnContext):
    """Knows the processes that pebble starts with it."""

    def __init__(self) -> None:
        self.processes: list[_Process] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Process:  # type: ignore[override]
        process = _Process(*args, **kwargs)
        self.processes.append(process)
        return process

    def kill(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    process.kill()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _how(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    with suppress(ValueError):
        name = signal.Signals(-exitcode).name
        return f"{name}; out of memory?" if name == "SIGKILL" else name
    return f"signal {-exitcode}"
