"""run_inline: a flow's own handlers, driven by the in-memory engine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, cast
from uuid import uuid4

from psycopg import AsyncConnection, Connection, Rollback

from pgflow.execute import output_of
from pgflow.executors import LoopExecutor, Result, call
from pgflow.flow import Context, Flow, Step
from pgflow.flow.flow import In, Out, expect_flow
from pgflow.records import FailedTask, Out_co, Outcome, Run, StepState, Task
from pgflow.testing.model import Engine
from pgflow.testing.model.state import RunRow, StepRow, TaskRow, load
from pgflow.worker import transactional
from pgflow.worker.runner import failure

AnyConnection: TypeAlias = Connection[Any] | AsyncConnection[Any]

#: Seconds; nothing lapses, since the clock stands still while a handler runs.
_LEASE = 60


@dataclass(frozen=True, slots=True)
class InlineRun(Run[Out_co]):
    """A finished run, as `client.wait` would return it, and what only a test wants to know.

    `attempts` says per step how often each of its tasks was tried; `waited` how many seconds of delays (retries,
    start_delay) were passed over.
    """

    attempts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    waited: float = 0.0

    @property
    def result(self) -> Out_co:
        """The output, `{final_step: output}`; raises RunFailed if the run failed."""
        return output_of(self)


def run_inline(
    flow: Flow[In, Out],
    input: In,
    *,
    resources: Mapping[str, Any] | None = None,
    connection: AnyConnection | None = None,
) -> InlineRun[Out]:
    """Runs a flow in memory to its end and returns the finished run.

        run = run_inline(campaign, {"campaign_id": 123})
        assert run.status == "completed"
        assert run.output["report"] == {"sent": 3}
        assert run.steps["send_email"].done_tasks == 3

    The semantics are those of the database: conditions, skips, maps, retries (without waiting for them), values that
    pass through JSON. Tasks run one after the other, in the order of their messages, `async def` handlers on an event
    loop of their own, plain ones right here; timeouts are not enforced, and `ctx.cancelled` is never set. Also
    callable where an event loop runs already. `resources` is what handlers find in `ctx.resources`.

    `connection` is what transactional steps find in `ctx.connection`, a psycopg.AsyncConnection where they are
    `async def`. Each attempt works in a `connection.transaction()` block, so inside a transaction of the test's all can
    be rolled back:

        with connection.transaction(force_rollback=True):
            run_inline(bank, order, connection=connection)
            assert connection.execute("select sum(balance) from accounts").fetchone() == (100,)

    A failed run is returned too: `run.status`, `run.error` and `run.failed_task` say what happened, `run.output` is
    None and `run.result` raises RunFailed. Raises FlowDefinitionError, InvalidInputError for an input that a run
    could not be started with, and ValueError for transactional steps without a connection of their kind.
    """
    expect_flow(flow)
    _check_connection(flow, connection)
    inline = _Inline(flow, flow.encode_input(input), resources or {}, connection)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return inline.run()
    with ThreadPoolExecutor(1, thread_name_prefix="pgflow-inline") as thread:
        return thread.submit(contextvars.copy_context().run, inline.run).result()


def _check_connection(flow: Flow[Any, Any], connection: AnyConnection | None) -> None:
    for step in flow.steps.values():
        kind = AsyncConnection if step.is_async else Connection
        if step.options.transactional and not isinstance(connection, kind):
            raise ValueError(
                f"step {step.slug!r} is transactional: give run_inline a connection= for it, a psycopg.{kind.__name__}"
            )


class _Inline:
    """One run of one flow: claims a task, runs its handler, settles, until the run has ended."""

    def __init__(
        self, flow: Flow[Any, Any], raw: bytes, resources: Mapping[str, Any], connection: AnyConnection | None
    ) -> None:
        self._flow = flow
        self._raw = raw
        self._resources = resources
        self._connection = connection
        self._worker_id = uuid4()
        self._engine = Engine()
        self._engine.create_flow(flow.slug, flow.shape())

    def run(self) -> InlineRun[Any]:
        run = self._engine.start_flow(self._flow.slug, self._raw)
        # with a factory, the Runner leaves the thread's current event loop alone
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as loop:
            while run.status == "started":
                for task in self._engine.poll(self._worker_id, 1, _LEASE) or self._wait():
                    self._engine.settle(self._worker_id, [self._work(task, loop)])
        return _record(run, (self._engine.now - run.started_at).total_seconds())

    def _wait(self) -> list[Task]:
        """Puts the clock to when the next message can be read."""
        self._engine.now = min(message.vt for message in self._engine.messages.values())
        return []

    def _work(self, task: Task, loop: asyncio.Runner) -> Outcome:
        """As the worker's runner does it."""
        step = self._flow.steps[task.step_slug]
        try:
            arguments = step.binding.arguments(
                task.input, self._raw, self._context(step, task), is_root=task.is_root_single
            )
            result = _call(step, self._handler(step), arguments, loop)
            encode = partial(transactional.encode, step) if step.options.transactional else step.binding.encode
            return Outcome.completed(task.key, encode(result.get()))
        except Exception as error:  # a user's validator may raise anything, too
            return failure(step, task, error)

    def _handler(self, step: Step[Any, Any]) -> Callable[..., Any]:
        """The step's own, or in a transaction that is rolled back if its result is none."""
        connection = self._connection
        if connection is None or not step.options.transactional:
            return step.fn

        def in_transaction(**arguments: Any) -> Any:
            with cast("Connection[Any]", connection).transaction():
                value = step.fn(**arguments)
                _undo_unless_encodable(step, value)
            return value

        async def in_async_transaction(**arguments: Any) -> Any:
            async with cast("AsyncConnection[Any]", connection).transaction():
                value = await step.fn(**arguments)
                _undo_unless_encodable(step, value)
            return value

        return in_async_transaction if step.is_async else in_transaction

    def _context(self, step: Step[Any, Any], task: Task) -> Context:
        async def load_input() -> bytes:
            return self._raw

        return Context.of(
            task,
            self._worker_id,
            resources=self._resources,
            load_raw_input=load_input,
            open_connection=self._connection if step.options.transactional else None,
        )


def _undo_unless_encodable(step: Step[Any, Any], value: Any) -> None:
    try:
        transactional.encode(step, value)
    except Exception as error:
        raise Rollback from error  # swallowed by the block; what is wrong is found again behind it


def _call(step: Step[Any, Any], fn: Callable[..., Any], arguments: dict[str, Any], loop: asyncio.Runner) -> Result:
    """How the handler ended; only Ctrl-C gets past here."""
    result = loop.run(_awaited(fn, arguments)) if step.is_async else call(fn, arguments)
    if isinstance(result.error, KeyboardInterrupt):
        raise result.error
    return result


async def _awaited(fn: Callable[..., Any], arguments: dict[str, Any]) -> Result:
    return await LoopExecutor().submit(fn, arguments)


def _record(run: RunRow, waited: float) -> InlineRun[Any]:
    failed = [(t.failed_at, s.spec.slug, t) for s in run.steps.values() for t in s.tasks if t.status == "failed"]
    first = min(failed, key=lambda item: (item[0] or run.started_at, item[1], item[2].index), default=None)
    return InlineRun(
        run_id=run.run_id,
        flow_slug=run.flow.slug,
        status=run.status,
        input=load(run.input),
        output=load(run.output),
        error=run.error_message,
        remaining_steps=run.remaining_steps,
        started_at=run.started_at,
        completed_at=run.completed_at,
        failed_at=run.failed_at,
        steps={slug: _state(step) for slug, step in run.steps.items()},
        failed_task=_failed(first[1], first[2]) if run.status == "failed" and first else None,
        attempts={slug: tuple(t.attempts_count for t in step.tasks) for slug, step in run.steps.items()},
        waited=waited,
    )


def _failed(step_slug: str, task: TaskRow) -> FailedTask:
    return FailedTask(step_slug, task.index, task.attempts_count, task.error_message)


def _state(step: StepRow) -> StepState:
    return StepState(
        step_slug=step.spec.slug,
        status=step.status,
        initial_tasks=step.initial_tasks,
        remaining_tasks=step.remaining_tasks,
        remaining_deps=step.remaining_deps,
        output=load(step.output),
        error_message=step.error_message,
        skip_reason=step.skip_reason,
        created_at=step.created_at,
        started_at=step.started_at,
        completed_at=step.completed_at,
        failed_at=step.failed_at,
        skipped_at=step.skipped_at,
    )
