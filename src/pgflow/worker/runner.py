"""From a claimed task to its outcome: bind, run, encode. Nothing a handler does gets past here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

from pgflow.db.transactions import CommitUnknown, NotBegun, ResultRefused
from pgflow.errors import InvalidInputError, Permanent, RetryAfter
from pgflow.executors import (
    Executor,
    FromProcess,
    HandlerRaised,
    Job,
    LoopExecutor,
    NamedExecutor,
    NoFreeProcess,
    ProcessExecutor,
    Result,
    ThreadExecutor,
)
from pgflow.flow import Context, Flow, Handlers, Step
from pgflow.flow.context import context_fields
from pgflow.records import Outcome, Task, TaskKey, Verdict
from pgflow.worker.complaints import Complain, Complaints, in_full
from pgflow.worker.deadlines import Deadlines
from pgflow.worker.error_text import error_text
from pgflow.worker.held import Held, Holding
from pgflow.worker.inputs import Inputs
from pgflow.worker.transactional import Transactional

logger = logging.getLogger("pgflow.worker")

#: Called with a handler, gives what is called in its stead: with the same arguments, and `async def` where it is.
Middleware: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

#: Seconds that a cancelled handler gets to end: its outcome must arrive before its lease ends, which is never later
#: than the timeout + 2 s.
CANCEL_GRACE = 1.0
#: Seconds since its claim that a task waits for its run's input; where that is more, half of its timeout.
_INPUT_PATIENCE = 1.0
#: Seconds that a task may wait, in line and for a process, without its handler having less time for it.
_USUAL_WAIT = 2.0


class HandlerTimeout(TimeoutError):
    """The handler did not end within its step's timeout."""


class NoInput(Exception):
    """The run's input has not come: the task should go back to the queue, before its lease cannot be kept any more."""


class Runner:
    """Runs the handlers of these flows; of other flows' tasks, those that have a name. `unknown` is called with a flow
    of which a task came that no handler fits.

    outcome = await runner.run(holding)
    """

    def __init__(
        self,
        flows: Mapping[str, Flow[Any, Any]],
        inputs: Inputs,
        held: Held,
        worker_id: UUID,
        resources: Mapping[str, Any],
        processes: ProcessExecutor | None = None,
        named: Mapping[str, NamedExecutor] = MappingProxyType({}),
        transactional: Transactional | None = None,
        handlers: Handlers | None = None,
        unknown: Callable[[str], None] = lambda flow_slug: None,
        middleware: Middleware | None = None,
    ) -> None:
        self._flows = flows
        self._handlers = handlers
        self._unknown = unknown
        self._around = middleware or (lambda handler: handler)
        self._inputs = inputs
        self._held = held
        self._worker_id = worker_id
        self._resources = resources
        self._loop: Executor = LoopExecutor()
        self._threads: Executor = ThreadExecutor()
        self._deadlines = Deadlines()
        self._processes = processes
        self._named = named
        self._transactional = transactional
        self._complaints = Complaints()

    def close(self) -> None:
        """Whatever handler still runs is left to itself. Processes, connections and executors with a name are closed
        by who opened them."""
        self._inputs.close()
        self._loop.close()
        self._threads.close()
        self._deadlines.close()
        self._complaints.close()

    async def run(self, holding: Holding) -> Outcome | Verdict:
        """The outcome; of a transactional step the verdict on it, if it was settled.

        Never raises but CancelledError: then the handler was cancelled, and nobody waits for its outcome.
        """
        task = holding.task
        step = self._step_of(task)
        if step is None:
            return self._nobody_s(holding)
        try:
            if self._transactional is not None and step.options.transactional:
                return await self._handle_and_settle(self._transactional, step, holding)
            return Outcome.completed(holding.key, await self._handle(step, holding))
        except (NoFreeProcess, NoInput, NotBegun):
            return Outcome.released(holding.key)
        except CommitUnknown as error:
            logger.warning("%s: the answer to COMMIT was lost: it is done, or will run again", task, exc_info=error)
            return "stale"
        except BaseException as error:  # a user's validator may raise anything, too, and the loop must not see it
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return failure(step, task, error, self._complaints.note)

    def _step_of(self, task: Task) -> Step[Any, Any] | None:
        if (flow := self._flows.get(task.flow_slug)) is not None:
            return flow.steps.get(task.step_slug)
        if self._handlers is None or task.handler is None or task.step_type is None:
            return None
        return self._handlers.step(task.handler, task.step_type)

    def _nobody_s(self, holding: Holding) -> Outcome:
        """A flow that is data may have changed since we looked at it; one in code may not."""
        task = holding.task
        if task.flow_slug not in self._flows:
            self._unknown(task.flow_slug)
            return Outcome.released(holding.key)
        return Outcome.failed(
            holding.key,
            f"this worker's code has no step {task.step_slug!r} in flow {task.flow_slug!r}",
            permanent=True,
        )

    async def _handle(self, step: Step[Any, Any], holding: Holding) -> bytes:
        flow_input = await self._flow_input(step, holding)
        if self._processes is not None and step.options.executor == "process":
            return await self._handle_in_process(self._processes, step, holding, flow_input)
        if (named := self._named.get(step.options.executor or "")) is not None:
            future = named.submit(self._job(named.name(step), holding.task, flow_input))
            who = f"the handler, with its wait for executor {step.options.executor!r},"
            return await self._output_of(future, holding, who)
        context = self._context(holding) if step.binding.needs_context else None
        arguments = step.binding.arguments(holding.task.input, flow_input, context, is_root=holding.task.is_root_single)
        executor = self._loop if step.is_async else self._threads
        result = await self._result_of(executor.submit(self._around(step.fn), arguments), holding)
        return step.binding.encode(result.get())

    async def _handle_and_settle(self, transactional: Transactional, step: Step[Any, Any], holding: Holding) -> Verdict:
        context = self._context(holding)
        flow_input = await self._flow_input(step, holding)
        attempt = transactional.attempt(step, holding.task, flow_input, context)
        executor = self._loop if step.is_async else self._threads
        try:
            result = await self._result_of(executor.submit(self._around(attempt.run), {}), holding)
        except BaseException:
            self._threads.submit(attempt.leash.cut, {})
            raise
        if result.error is not None:
            raise result.error
        verdict: Verdict = result.value
        return verdict

    async def _flow_input(self, step: Step[Any, Any], holding: Holding) -> bytes | None:
        """The run's input, if the step asks for it; raises NoInput if it does not come soon enough."""
        task = holding.task
        if task.flow_input is not None or not step.binding.needs_flow_input:
            return task.flow_input
        try:
            async with asyncio.timeout(max(_INPUT_PATIENCE, task.timeout / 2) - holding.age):
                return await self._inputs.load(task.run_id)
        except TimeoutError:
            raise NoInput from None

    async def _handle_in_process(
        self, processes: ProcessExecutor, step: Step[Any, Any], holding: Holding, flow_input: bytes | None
    ) -> bytes:
        async with processes.child() as child:
            job = self._job(processes.name(step), holding.task, flow_input)
            return await self._output_of(child.submit(job), holding)

    def _job(self, name: str, task: Task, flow_input: bytes | None) -> Job:
        return Job(name, task.input, flow_input, context_fields(task, self._worker_id), task.is_root_single)

    async def _output_of(self, future: asyncio.Future[Result], holding: Holding, who: str = "the handler") -> bytes:
        """What a handler elsewhere returned, as JSON text."""
        output: bytes = (await self._result_of(future, holding, who)).get()
        return output

    async def _result_of(self, future: asyncio.Future[Result], holding: Holding, who: str = "the handler") -> Result:
        """How a handler ended, in time."""
        holding.handler = future
        try:
            in_time = await self._deadlines.wait(future, time_for(holding))
        except asyncio.CancelledError:
            await self._abandon(future, holding)
            raise
        if not in_time:
            await self._abandon(future, holding)
            raise HandlerRaised(HandlerTimeout(f"{who} did not end within its timeout of {holding.task.timeout} s"))
        return future.result()

    async def _abandon(self, future: asyncio.Future[Result], holding: Holding) -> None:
        """Tells the handler, stops it if it can be stopped, and lets it linger if not."""
        holding.cancel()
        if future.cancel():
            await asyncio.wait({future}, timeout=CANCEL_GRACE)
        if not future.done():
            self._held.linger(future)

    def _context(self, holding: Holding) -> Context:
        return Context.of(
            holding.task,
            self._worker_id,
            resources=self._resources,
            cancelled=holding.cancelled,
            load_raw_input=self._input_loader(holding.task),
        )

    def _input_loader(self, task: Task) -> Callable[[], Any]:
        async def load() -> bytes:
            return task.flow_input if task.flow_input is not None else await self._inputs.load(task.run_id)

        return load


def time_for(holding: Holding) -> float:
    """Seconds that its handler has: the timeout, but where its input was long in coming what remains of its lease."""
    timeout, age = holding.task.timeout, holding.age
    return timeout if age <= _USUAL_WAIT else max(timeout + CANCEL_GRACE - age, timeout / 2)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def failure(step: Step[Any, Any], task: Task, error: BaseException, complain: Complain = in_full) -> Outcome:
    """The outcome of a task whose handler, or whose values, went wrong; the log is told."""
    if isinstance(error, ResultRefused):
        return refusal(task.key, error.__cause__ or error)
    cause = error.error if isinstance(error, HandlerRaised) else error
    # of our own errors the place says nothing
    complain(task, cause, with_traceback=not isinstance(error, InvalidInputError | HandlerTimeout))
    if isinstance(error, InvalidInputError):
        return Outcome.failed(task.key, error_text(error), permanent=True)
    return Outcome.failed(
        task.key,
        error_text(cause),
        permanent=_is_final(step, error, cause),
        retry_in=cause.seconds if isinstance(cause, RetryAfter) else step.retry.delay(task.base_delay, task.attempt),
    )


def refusal(key: TaskKey, error: BaseException) -> Outcome:
    """The outcome of a task whose result the database cannot store: it fails for good, with the database's words."""
    logger.error("result of %s cannot be stored: %s", key, error)
    return Outcome.failed(key, f"the result cannot be stored: {error_text(error)}", permanent=True)


def _is_final(step: Step[Any, Any], error: BaseException, cause: BaseException) -> bool:
    """Whether no retry is wanted. The step's options judge what its handler raised, and nothing else; what came from
    a process they have judged there, where its class is known."""
    if isinstance(error, HandlerRaised) and not isinstance(cause, FromProcess):
        return step.retry.is_final(cause)
    return isinstance(cause, Permanent)
