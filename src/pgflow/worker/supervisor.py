"""The parent of several worker processes: starts them, replaces those that end, stops them all.

The children hold one end of a pipe, their lifeline. The parent closes the other end to stop them, and so does its
death. A signal would not do: systemd sends SIGTERM to parent and children alike, and two mean "exit at once".
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any

logger = logging.getLogger("pgflow.worker")

#: Exit statuses of a worker. The last one: it was lost to handlers that cannot be stopped, by half or all.
DONE, WRONG_USE, NO_DATABASE, WORN_OUT = 0, 2, 3, 4
INTERRUPTED = 130

_LIFELINE = "PGFLOW_LIFELINE_FD"
#: As sysexits.h has it for the system's faults.
_NOT_STARTED = 71
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
#: Seconds after its grace period in which a child ends by itself (it says 2), or is killed.
_OVERTIME = 5.0
#: Seconds of work after which a child's earlier crashes are forgotten.
_HEALTHY = 30.0


@asynccontextmanager
async def follow_parent(stop: Callable[[], None]) -> AsyncIterator[int | None]:
    """Within the block `stop` is called when the supervisor wants it, or is dead; yields the lifeline's descriptor.

    Without a supervisor nothing happens, and it is None.
    """
    lifeline = os.environ.pop(_LIFELINE, None)  # for this process alone, not for those that it starts
    if lifeline is None:
        yield None
        return
    loop, descriptor = asyncio.get_running_loop(), int(lifeline)

    def ended() -> None:
        loop.remove_reader(descriptor)
        stop()

    loop.add_reader(descriptor, ended)
    try:
        yield descriptor
    finally:
        loop.remove_reader(descriptor)


class Supervisor:
    """Keeps `count` processes of a worker's command running.

        Supervisor([sys.executable, "-m", "pgflow", "worker", "app"], count=4).run()

    SIGINT or SIGTERM stops them all; a second one kills them, and a child that has not ended 5 s after its `grace`
    period is killed, too: it may be in C code that holds the interpreter's lock. A child that crashed is started again,
    after a pause that doubles up to 30 s. One that was used wrongly (2), or found no database when it was first started
    (3), would do no better the next time: then all are stopped. `environment` is added to that of the children.

    With `drain` a child that ended with 0 is not replaced. `changes` is something to iterate over while the children
    work: at each item they are stopped as by a signal, and started anew; one that was used wrongly waits for that.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        environment: Mapping[str, str] = MappingProxyType({}),
        *,
        grace: float = 25.0,
        drain: bool = False,
        changes: AsyncIterator[object] | None = None,
    ) -> None:
        self._command = list(command)
        self._count = count
        self._environment = dict(environment)
        self._patience = grace + _OVERTIME
        self._drain = drain
        self._changes = changes
        self._children: set[asyncio.subprocess.Process] = set()
        self._status = DONE

    def run(self) -> int:
        """Works until it is stopped; returns 0, or the exit status of the first child that failed for good."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._theirs, self._ours = os.pipe()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        watching = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._keep(number) for number in range(1, self._count + 1)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return self._status

    async def _watch(self) -> None:
        if self._changes is None:
            return
        async for _ in self._changes:
            if self._stopping.is_set():
                return
            logger.info("files have changed: the workers start anew")
            self._restart()

    def _restart(self) -> None:
        """Lets go of the lifeline that the children hold, and gives another to those that come."""
        before = (self._theirs, self._ours)
        self._theirs, self._ours = os.pipe()
        for descriptor in before:
            os.close(descriptor)
        self._changed.set()
        self._changed = asyncio.Event()

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set():
            sys.stderr.write("pgflow: second signal, exiting at once\n")
            for child in self._children:
                with suppress(ProcessLookupError):
                    child.kill()
            os._exit(INTERRUPTED)
        logger.warning("%s: stopping the workers (again: exit at once)", signal.Signals(number).name)
        self._stop(DONE)

    def _stop(self, status: int) -> None:
        if not self._stopping.is_set():
            self._status = status
            self._stopping.set()
            os.close(self._ours)

    async def _keep(self, number: int) -> None:
        """One child after the other, until all are stopped."""
        failures, is_first = 0, True
        while not self._stopping.is_set():
            began, changed = time.monotonic(), self._changed
            code = await self._work(changed)
            if self._stopping.is_set():
                self._status = self._status or _as_shells_say(code)
                return
            if changed.is_set():
                failures = 0
                continue
            if code == DONE and self._drain:
                return
            if code == WRONG_USE or (code == NO_DATABASE and is_first):
                if self._changes is None:
                    self._stop(code)
                    return
                await first_of(changed.wait(), self._stopping.wait())
                continue
            is_first = False
            if time.monotonic() - began > _HEALTHY:
                failures = 0
            pause = 0.0 if code in (DONE, WORN_OUT) and not failures else _pause(failures)
            failures += 1
            logger.warning("worker process %s ended (%s): another starts in %.1f s", number, _how(code), pause)
            await first_of(changed.wait(), self._stopping.wait(), timeout=pause)

    async def _work(self, changed: asyncio.Event) -> int:
        """Starts a child and waits for its end; returns its exit status, or minus the signal that killed it."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, **self._environment, _LIFELINE: str(self._theirs)},
                pass_fds=(self._theirs,),
                start_new_session=True,  # Ctrl-C at a terminal is the parent's to hear
            )
        except OSError as error:  # too many processes, say
            logger.error("a worker process cannot be started: %s", error)
            return _NOT_STARTED
        self._children.add(child)
        try:
            await first_of(child.wait(), changed.wait(), self._stopping.wait())
            await first_of(child.wait(), timeout=self._patience)
            if child.returncode is None:
                logger.error("worker process %s did not stop within %g s: killing it", child.pid, self._patience)
                child.kill()
            return await child.wait()
        finally:
            self._children.discard(child)


async def first_of(*waits: Coroutine[Any, Any, object], timeout: float | None = None) -> None:
    """Waits for one of these, or so many seconds; the others are cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _pause(failures: int) -> float:
    return min(_FIRST_PAUSE * 2.0 ** min(failures, 16), _LONGEST_PAUSE)


def _as_shells_say(code: int) -> int:
    return code if code >= 0 else 128 - code


def _how(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
