"""The worker: builds the parts, joins them, starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self
from uuid import uuid4

from pgflow.config import Settings, SettingsError, load
from pgflow.db import SharingDatabase
from pgflow.errors import DatabaseError, DatabaseUnreachable, InvalidInputError
from pgflow.executors import NamedExecutor, ProcessExecutor
from pgflow.flow import Flow, Handlers, Step
from pgflow.records import Outcome, Polled, Task, TaskKey, Verdict
from pgflow.worker import leftovers
from pgflow.worker.completer import Completer
from pgflow.worker.core import Core, OwnCore
from pgflow.worker.drain import Drain
from pgflow.worker.ending import Ending
from pgflow.worker.fetcher import Fetcher
from pgflow.worker.foreign import ForeignCore
from pgflow.worker.heartbeat import Heartbeat
from pgflow.worker.held import Held, Holding
from pgflow.worker.inputs import Inputs
from pgflow.worker.lifespan import Lifespan, resources_of
from pgflow.worker.patience import Patience
from pgflow.worker.plugged import Executors, plug_in, plugged_in
from pgflow.worker.roster import Roster
from pgflow.worker.runner import Middleware, Runner
from pgflow.worker.supervisor import WORN_OUT, first_of, follow_parent
from pgflow.worker.transactional import Transactional, open_transactional
from pgflow.worker.watch import Watch, exit_at_once

logger = logging.getLogger("pgflow.worker")

#: Seconds after the grace period that the last results get to reach the database.
_FLUSH_SECONDS = 1.75
#: Seconds for saying that we are gone.
_GOODBYE_SECONDS = 0.5


class Worker:
    """Works on the tasks of some flows, in this process, `concurrency` at a time.

        Worker([campaign], concurrency=50).run()

    A `Handlers` among the flows serves all stored flows that are data and whose steps' handlers it has, also those that
    are stored later. Inside a running event loop use it as a context manager; it works until the block ends. Arguments
    left out come from the environment (see `pgflow.config.Settings`). Raises FlowDefinitionError and ValueError before
    any I/O; when started DatabaseUnreachable, SchemaError, and FlowMismatch for a flow that is another one in the
    database. With `dev` a flow that changed is replaced, if none of its runs is unfinished. With `core="foreign"` it
    works a database in which pgflow's own (TypeScript) core is installed.

    `executors` are those that steps ask for by name, `@flow.step(executor="dask")`: any `concurrent.futures.Executor`.
    Who made them shuts them down; a function in their place, which yields them as a lifespan does, is opened and closed
    around the work. Raises ExecutorError for a step that asks for one that is not there, and SettingsError for what is
    no executor:

        Worker([campaign], executors={"dask": client.get_executor()}).run()

    `lifespan` is opened before the first task and closed after the last; handlers find what it yields, by name, in
    `ctx.resources` (those in processes and executors do not):

        @asynccontextmanager
        async def lifespan(worker: Worker):
            async with httpx.AsyncClient() as http:
                yield {"http": http}

        Worker([campaign], lifespan=lifespan).run()

    `middleware` is called with each handler before that is called, and returns what is called in its stead, in the
    same thread or on the loop (then it is `async def`, too); handlers in processes are called as they are.

        def timed(handler):
            def within(**arguments):
                with histogram.time():
                    return handler(**arguments)

            return within

        Worker([campaign], middleware=timed).run()
    """

    def __init__(
        self,
        flows: Sequence[Flow[Any, Any] | Handlers],
        *,
        dsn: str | None = None,
        concurrency: int | None = None,
        lease: int | None = None,
        grace: float | None = None,
        poll_interval: float | None = None,
        handler_processes: int | None = None,
        max_tasks_per_child: int | None = None,
        core: Literal["own", "foreign"] = "own",
        executors: Executors[Worker] | None = None,
        lifespan: Lifespan[Worker] | None = None,
        middleware: Middleware | None = None,
        dev: bool = False,
    ) -> None:
        if isinstance(flows, Flow | Handlers | str):
            raise InvalidInputError(f"a worker takes a list of flows and handlers, Worker([flow]), not {flows!r}")
        if not flows:
            raise InvalidInputError("a worker needs at least one flow, or handlers")
        self._flows: dict[str, Flow[Any, Any]] = {}
        self._handlers: Handlers | None = None
        for flow in flows:
            if not isinstance(flow, Flow | Handlers):
                raise InvalidInputError(f"a worker serves flows (pgflow.Flow) and pgflow.Handlers, not {flow!r}")
            flow.check()
            if isinstance(flow, Handlers):
                self._handlers = (self._handlers or Handlers()) | flow  # a copy: later ones would lack their executors
            elif self._flows.setdefault(flow.slug, flow) is not flow:
                places = f"{self._flows[flow.slug].location} and {flow.location}"
                raise InvalidInputError(f"two different flows have the slug {flow.slug!r}: {places}")
        #: Slugs of the flows that are served just now, as an ordered set; the listener looks into it.
        self._served = dict.fromkeys(self._flows)
        self.settings: Settings = load(
            dsn=dsn, concurrency=concurrency, lease=lease, grace=grace, poll_interval=poll_interval,
            handler_processes=handler_processes, max_tasks_per_child=max_tasks_per_child,
        )  # fmt: skip
        if middleware is not None and not callable(middleware):
            raise SettingsError(f"middleware must be a function that takes a handler, not {middleware!r}")
        if not callable(executors):
            plug_in(executors, self._steps)  # what is wrong is said before any I/O
        self._executors = executors
        self._processes = _processes(self._steps, self.settings)
        self._transactional: Transactional | None = None
        self._lifespan = lifespan
        self._middleware = middleware
        self._opened = AsyncExitStack()
        self._watch: Watch | None = None
        self.worker_id = uuid4()
        self._stop_asked: asyncio.Event | None = None
        self._drain: Drain | None = None
        self._owns_process = False
        self._lifeline: int | None = None
        self._status = 0
        self._database = SharingDatabase(self.settings)
        self._core = self._make_core(core, dev=dev)

    @property
    def dsn(self) -> str:
        """The database's address; the embedded server's, if none was given. Known once the worker works."""
        return self._database.dsn

    @property
    def _steps(self) -> list[Step[Any, Any]]:
        """Whatever may be worked on."""
        by_name = [] if self._handlers is None else self._handlers.steps
        return [*(step for flow in self._flows.values() for step in flow.steps.values()), *by_name]

    # -- life

    def run(self, *, drain: bool = False) -> int:
        """Works until SIGINT or SIGTERM, then finishes what runs (see `stop`); returns the exit status.

        With `drain` it stops by itself as soon as nothing is due (see `drained`).
        It is 0, or WORN_OUT (4) if the worker stopped by itself since half of its slots were lost to handlers that
        overran their timeout and cannot be stopped. A second signal exits at once, with status 130.

        The process is ended where it could not go on or would not stop: with WORN_OUT when a handler blocks the event
        loop for longer than its timeout, and at 2 s after the grace period whatever has not ended by then.
        """
        if has_loop() or threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "Worker.run() has an event loop of its own and hears signals, in the main thread: elsewhere use "
                "`async with worker: await worker.stopped()`"
            )
        self._owns_process = True
        try:
            return asyncio.run(self._run(drain=drain))
        finally:
            self._owns_process = False
            if self._watch is not None:
                self._watch.stop()

    async def _run(self, *, drain: bool) -> int:
        self._hear_signals()
        asyncio.get_running_loop().set_default_executor(leftovers.UnwaitedThreads())
        async with follow_parent(self.stop) as self._lifeline, self:
            what = [*self._flows, *(["flows with handlers by name"] if self._handlers is not None else [])]
            logger.info("worker %s serves %s", self.worker_id, ", ".join(what))
            await (self.drained() if drain else self.stopped())
        await leftovers.end_tasks()
        return self._status

    def _hear_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)

    def _wear_out(self) -> None:
        """Half of the slots are lost. Inside somebody else's program we go on with the rest."""
        if self._owns_process and not self._is_stopping:
            logger.error("half of the slots are held by handlers that overran their timeout: stopping, start me anew")
            self._status = WORN_OUT
            self.stop()

    def _on_signal(self, number: int) -> None:
        if self._stop_asked is None or self._stop_asked.is_set():
            exit_at_once()
        logger.warning(
            "%s: finishing what runs, for up to %g s (again: exit at once)",
            signal.Signals(number).name, self.settings.grace,
        )  # fmt: skip
        self.stop()

    def stop(self) -> None:
        """Asks the worker to stop: no new tasks; those running get `grace` seconds, then are handed back."""
        if self._stop_asked is not None:
            self._stop_asked.set()
            if self._owns_process:  # else whoever has the block decides when it ends
                self._ending.begin()

    @property
    def _is_stopping(self) -> bool:
        return self._stop_asked is not None and self._stop_asked.is_set()

    async def stopped(self) -> None:
        """Waits until somebody asked the worker to stop."""
        await self._begun().wait()

    def _begun(self) -> asyncio.Event:
        if self._stop_asked is None:
            raise RuntimeError("this worker has not begun: wait for it within `async with worker:`")
        return self._stop_asked

    async def drained(self) -> None:
        """Waits until nothing is left to do: no task of these flows can be claimed, now or within a second, and the
        worker holds none; or until it was asked to stop.

            async with Worker([campaign]) as worker:
                await worker.drained()

        What others work on, and retries and delays that end later, are left. Without it a worker goes on for ever.
        """
        self._begun()
        for service in self._services:
            if service.brings_work:
                await first_of(service.rested.wait(), self.stopped())
        self._drain = Drain()
        self._fetcher.look_everywhere()
        await first_of(self._drain.over.wait(), self.stopped())

    async def __aenter__(self) -> Self:
        self._stop_asked = asyncio.Event()
        self._ending = Ending(self.settings.grace)
        async with AsyncExitStack() as opened:
            await self._database.open()
            opened.push_async_callback(self._ending.in_time, self._database.close)
            await self._core.prepare()
            if self._processes is not None:
                opened.push_async_callback(self._ending.in_time, self._processes.close)
                await self._processes.start()
            self._transactional = await open_transactional(
                self._flows.values(), self._database.dsn, self.worker_id, self.settings.concurrency
            )
            if self._transactional is not None:
                opened.push_async_callback(self._ending.in_time, self._transactional.close)
            resources = await resources_of(self._lifespan, self, opened)
            named = await plugged_in(self._executors, self, self._steps, opened)
            await self._core.register()
            self._build(resources, named)
            self._opened = opened.pop_all()
        self._start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            async with self._opened:
                await self._shut_down()
        finally:
            if self._watch is not None and not self._owns_process:
                self._watch.stop()

    # -- parts

    def _make_core(self, name: str, *, dev: bool) -> Core:
        match name:
            case "own":
                announced = None if self._handlers is None else lambda: self._roster.wake()
                return OwnCore(self._database, self._flows, self._served, self.worker_id, announced, dev=dev)
            case "foreign" if self._handlers is not None:
                raise SettingsError("handlers by name need core='own': a foreign core stores no flows that are data")
            case "foreign" if dev:
                raise SettingsError("dev is for the own core: in a foreign one a flow is never replaced")
            case "foreign":
                return ForeignCore(self._database, self._flows, self.worker_id, lambda: self._is_stopping)
        raise SettingsError(f"core must be 'own' or 'foreign', not {name!r}")

    def _build(self, resources: Mapping[str, Any], named: Mapping[str, NamedExecutor]) -> None:
        settings, database = self.settings, self._database
        self._held = Held(settings.concurrency, self._on_room, self._wear_out, most_ahead=self._core.most_ahead)
        self._runner = Runner(
            self._flows, Inputs(database), self._held, self.worker_id, resources, self._processes, named,
            self._transactional, self._handlers, self._on_unknown, self._middleware,
        )  # fmt: skip
        self._completer = Completer(
            self._settle,
            lambda: self._held.working > 0,
            self._held.drop,
            self._on_gone,
            lambda: self._held.capacity,
        )
        self._fetcher = Fetcher(
            self._poll, list(self._flows), self._held, self._take, settings.poll_interval, self._on_polled,
            lambda: self._core.hears,
        )  # fmt: skip
        self._heartbeat = Heartbeat(database.dsn, settings.lease, self._held, self._core.beat, self._held.lose)
        self._patience = Patience(self._held, self._hand_back)
        self._services = [*self._core.services(self._fetcher.hear), self._patience]
        if self._handlers is not None:
            self._roster = Roster(database, self._handlers, self._flows, self._serve)
            self._services.append(self._roster)

    def _start(self) -> None:
        if self._owns_process:
            self._hear_signals()  # again: what was opened around the work may have taken them, as Ray does
        self._watch = Watch(
            self._held, self._ending, lambda: self._status, owned=self._owns_process, lifeline=self._lifeline
        )
        self._watch.start()
        self._heartbeat.start()
        for service in (self._completer, *self._services, self._fetcher):
            service.start()

    async def _shut_down(self) -> None:
        """Fetches nothing more, waits for handlers, hands back what is left, flushes, says good-bye.

        Results that wait for the database to come back have the whole grace period for it.
        """
        self.stop()
        self._ending.begin()
        for holding in self._held.step_back():
            self._hand_back(holding)
        stops = [service.stop for service in (self._fetcher, *self._services)]
        hearing = asyncio.create_task(self._ending.in_time(*stops))
        await self._end_jobs()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ending.left(_FLUSH_SECONDS)):
                await asyncio.wait({hearing})  # which leaves it alone when its time is up
                await self._completer.flush()
        if len(self._held):
            logger.warning("%s results could not be stored; their tasks will run again", len(self._held))
        await hearing
        await self._ending.in_time(self._completer.stop, self._heartbeat.stop)
        self._runner.close()
        await self._ending.in_time(self._say_goodbye)

    async def _end_jobs(self) -> None:
        jobs = {h.job for h in self._held if h.job is not None and not h.job.done()}
        if jobs:
            _, late = await asyncio.wait(jobs, timeout=self._ending.left(0))
            for job in late:
                job.cancel()
            if late:
                await asyncio.wait(late, timeout=self._ending.left(_FLUSH_SECONDS))

    async def _say_goodbye(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._core.sign_off()

    # -- flows that come and go

    async def _serve(self, dynamic: list[str]) -> None:
        self._served.clear()
        self._served.update(dict.fromkeys((*self._flows, *dynamic)))
        self._fetcher.serve(self._served)
        await self._core.register()

    def _on_unknown(self, flow_slug: str) -> None:
        """A task came that no handler fits: no more of its flow until we have looked at it."""
        self._roster.forget(flow_slug)
        self._served.pop(flow_slug, None)
        self._fetcher.serve(self._served)
        self._roster.wake()

    # -- the way of a task

    async def _poll(self, flows: Sequence[str], qty: int) -> Polled:
        if self._is_stopping:
            return Polled((), None)
        return await self._core.poll(flows, qty)

    def _take(self, task: Task) -> None:
        holding = self._held.add(task)
        if self._is_stopping:
            self._hand_back(holding)  # it came along with the last results
            return
        self._held.line_up(holding)
        self._start_next()
        if self._held.has_line:
            self._patience.wake()

    def _start_next(self) -> None:
        """Starts as many handlers as may run."""
        while (holding := self._held.next_in_line()) is not None:
            self._held.working += 1
            holding.job = asyncio.create_task(self._runner.run(holding))
            holding.job.add_done_callback(partial(self._worked, holding))

    def _worked(self, holding: Holding, job: asyncio.Task[Outcome | Verdict]) -> None:
        """Called however the job ended, also when it was cancelled before it began."""
        self._held.working -= 1
        ended = Outcome.released(holding.key) if job.cancelled() else job.result()
        self._start_next()  # first, or the completer would believe that nothing else is running
        if holding.lost:
            self._held.drop(holding.key)
        elif isinstance(ended, Outcome):
            self._held.ahead.ended()
            self._completer.add(ended)
        else:
            self._settled_itself(holding, ended)

    def _settled_itself(self, holding: Holding, verdict: Verdict) -> None:
        """Its outcome went with its transaction, or is not known: nothing is left to be sent."""
        self._held.drop(holding.key)
        if verdict == "applied":
            self._fetcher.hear([holding.task.flow_slug])  # what follows from it
        elif verdict == "gone":
            self._on_gone(holding.key)

    def _hand_back(self, holding: Holding) -> None:
        self._completer.add(Outcome.released(holding.key))

    def _on_room(self) -> None:
        """A task is done with, or a thread that could not be stopped has ended."""
        self._start_next()
        self._fetcher.room()
        if self._drain is not None and not len(self._held):
            self._fetcher.wake()

    def _on_polled(self, polled: Polled) -> None:
        if self._drain is not None and self._drain.looked(polled, len(self._held)):
            self._fetcher.wake()

    def _on_gone(self, key: TaskKey) -> None:
        """Its run may have been cancelled: the heartbeat asks at once about whatever else of it is held."""
        if self._held.doubt(key.run_id):
            self._heartbeat.wake()

    async def _settle(self, outcomes: list[Outcome]) -> list[Verdict]:
        if not self._is_stopping:
            try:
                return await self._fetcher.along(outcomes, partial(self._core.settle_and_poll, outcomes))
            except DatabaseUnreachable:
                raise
            except DatabaseError as error:
                # perhaps it was the fetching that failed: that must not hold up results, let alone condemn them
                logger.debug("settling alone, since with fetching it fails: %s", error)
                self._fetcher.wake()
        return await self._core.settle(outcomes)


def has_loop() -> bool:
    """Whether an event loop runs in this thread. Asked apart, so that no other error has the answer as its context."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _processes(steps: Iterable[Step[Any, Any]], settings: Settings) -> ProcessExecutor | None:
    """Processes for the steps that want one; None if none does."""
    steps = [step for step in steps if step.options.executor == "process"]
    if not steps:
        return None
    return ProcessExecutor(steps, count=settings.handler_processes, max_tasks=settings.max_tasks_per_child)
