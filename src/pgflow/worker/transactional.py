"""Steps with a transaction of their own: the handler's effects and its task's completion are committed together."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Connection

from pgflow import calls
from pgflow.calls import Call
from pgflow.db.transactions import AsyncTransactions, Leash, Transactions
from pgflow.errors import InvalidInputError
from pgflow.executors import Result, call, call_async
from pgflow.flow import Context, Flow, Step
from pgflow.records import Outcome, Task, Verdict


async def open_transactional(
    flows: Iterable[Flow[Any, Any]], dsn: str, worker_id: UUID, size: int
) -> Transactional | None:
    """For as many tasks at once, if any step of the flows is transactional."""
    if not any(step.options.transactional for flow in flows for step in flow.steps.values()):
        return None
    transactional = Transactional(worker_id, AsyncTransactions(dsn, size), Transactions(dsn, size))
    await transactional.on_loop.open()
    transactional.in_threads.open()
    return transactional


@dataclass(frozen=True, slots=True)
class Transactional:
    """Connections for handlers of both kinds, and who settles.

    attempt = transactional.attempt(step, task, flow_input, context)
    executor.submit(attempt.run, {})
    """

    worker_id: UUID
    on_loop: AsyncTransactions
    in_threads: Transactions

    def attempt(self, step: Step[Any, Any], task: Task, flow_input: bytes | None, context: Context) -> Attempt:
        return Attempt(self, step, task, flow_input, context)

    async def close(self) -> None:
        await self.on_loop.close()
        await asyncio.to_thread(self.in_threads.close)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one task; `leash.cut()` ends its transaction, wherever its handler is."""

    transactional: Transactional
    step: Step[Any, Any]
    task: Task
    flow_input: bytes | None
    context: Context
    leash: Leash = field(default_factory=Leash)

    @property
    def run(self) -> Callable[[], Verdict] | Callable[[], Coroutine[Any, Any, Verdict]]:
        """For the executor: begins, calls the handler, settles, commits."""
        return self._run_on_loop if self.step.is_async else self._run_in_thread

    async def _run_on_loop(self) -> Verdict:
        async def work(connection: AsyncConnection) -> Call[Verdict | None]:
            return self._settling(await call_async(self.step.fn, self._arguments(connection)))

        return await self.transactional.on_loop.run(work, self.leash)

    def _run_in_thread(self) -> Verdict:
        def work(connection: Connection) -> Call[Verdict | None]:
            return self._settling(call(self.step.fn, self._arguments(connection)))

        return self.transactional.in_threads.run(work, self.leash)

    def _arguments(self, connection: Connection | AsyncConnection) -> dict[str, Any]:
        context = dataclasses.replace(self.context, open_connection=connection)
        return self.step.binding.arguments(self.task.input, self.flow_input, context, is_root=self.task.is_root_single)

    def _settling(self, result: Result) -> Call[Verdict | None]:
        """What settles the task; raises what the handler raised, so that all is rolled back."""
        output = encode(self.step, result.get())
        return calls.settle_within(self.transactional.worker_id, Outcome.completed(self.task.key, output))


def encode(step: Step[Any, Any], value: Any) -> bytes:
    """The output as JSON text; raises InvalidInputError, also if it is no list where a map needs one.

    The database would fail the run for that, and so settle the task, and the handler's effects would be committed.
    """
    output = step.binding.encode(value)
    if not output.startswith(b"[") and (dependent := _mapped_by(step)):
        raise InvalidInputError(f"the handler's result: step {dependent!r} maps over it, so it must be a list")
    return output


def _mapped_by(step: Step[Any, Any]) -> str | None:
    if step.step_type == "map":
        return None
    dependents = (s for s in step.flow.steps.values() if s.step_type == "map" and step.slug in s.dependencies)
    return next((s.slug for s in dependents), None)
