"""pgflow's own (TypeScript) core behind a worker: one call per task, no leases, no fences, no notifications.

Where that core has nothing to offer, what comes nearest is done:

- a task that was not worked on (a stopping worker's) is failed, so that it is queued again: an attempt is used up
- a permanent failure uses up all remaining attempts at once
- a result is sent only while the task is still this worker's, as far as a look just before the call can tell
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from pgflow import calls, calls_foreign, schema
from pgflow.calls import Call
from pgflow.calls_foreign import Answer, Features
from pgflow.config import SettingsError
from pgflow.db import AsyncDatabase
from pgflow.errors import FlowDefinitionError, FlowMismatch, SchemaError
from pgflow.flow import Flow
from pgflow.records import Outcome, Polled, Task, TaskKey, Verdict
from pgflow.worker.core import whereabouts
from pgflow.worker.fetcher import Settled
from pgflow.worker.service import Service

logger = logging.getLogger("pgflow.worker")

#: Seconds between two looks for work, of which nobody tells.
_LOOK = 0.2
#: Results that are on their way at once: fewer than the pool has connections, so that polling finds one.
_FLIGHTS = 3
_REQUEUE_INTERVAL = 15.0
_RELEASED = "released: the worker could not do the task"


class ForeignCore:
    """The core that `npx pgflow install` installs, 0.8 or newer."""

    most_ahead = 0
    hears = False

    def __init__(
        self,
        database: AsyncDatabase,
        flows: Mapping[str, Flow[Any, Any]],
        worker_id: UUID,
        is_stopping: Callable[[], bool],
    ) -> None:
        if database.settings.dsn is None:
            raise SettingsError("core='foreign' needs the address of a database: the embedded one has py-pgflow's core")
        for flow in flows.values():
            if faults := _faults(flow):
                raise FlowDefinitionError(flow.slug, faults)
        self._database = database
        self._flows = flows
        self._worker_id = worker_id
        self._is_stopping = is_stopping
        self._flights = asyncio.Semaphore(_FLIGHTS)
        self._doubtful: deque[tuple[str, list[int]]] = deque()

    async def prepare(self) -> None:
        await asyncio.to_thread(schema.prepare_foreign, self._database)
        self._features: Features = await self._database.run(calls_foreign.look())
        if self._features.missing:
            raise SchemaError(
                f"the database's pgflow schema lacks {', '.join(self._features.missing)}: it is older than pgflow 0.8; "
                "upgrade it (`npx pgflow install`)"
            )
        for flow in self._flows.values():
            await self._store(flow)

    async def _store(self, flow: Flow[Any, Any]) -> None:
        """Stores a flow that is missing; raises FlowMismatch for one that is another.

        Not by `ensure_flow_compiled`: that would replace another one, with its runs, on a local Supabase.
        """
        stored = await self._database.run(calls_foreign.stored_steps(flow.slug))
        if stored is not None:
            if differences := _differences(flow, stored):
                raise FlowMismatch(flow.slug, differences, "make the code fit, or give it a slug of its own")
            return
        try:
            await self._database.run(calls_foreign.create_flow(flow.sql()))
        except SchemaError as error:
            raise SchemaError(
                f"flow {flow.slug!r} uses what the installed pgflow does not have: {error.__cause__}".splitlines()[0]
            ) from error

    async def register(self) -> None:
        await self._database.run(self.beat(()))

    async def sign_off(self) -> None:
        if self._features.has_stop:
            await self._database.run(calls.mark_worker_stopped(self._worker_id))

    def beat(self, held: Iterable[TaskKey]) -> Call[list[TaskKey]]:
        return calls_foreign.beat(self._worker_id, ",".join(self._flows), whereabouts(), held)

    def services(self, hear: Callable[[Iterable[str]], None]) -> list[Service]:
        return [Requeueing(self._database)] if self._features.has_requeue else []

    # -- claiming

    async def poll(self, flow_slugs: Sequence[str], qty: int) -> Polled:
        flows = random.sample(flow_slugs, min(qty, len(flow_slugs)))
        if not flows or self._is_stopping():  # settling took a while, and to hand a task back costs an attempt
            return Polled((), _LOOK)
        await self._resolve_doubts()
        share = qty // len(flows)
        by_flow: dict[str, list[int]] = {}
        for message in await self._database.run(calls_foreign.read(flows, qty=share)):
            by_flow.setdefault(message.flow_slug, []).append(message.msg_id)
        is_full = any(len(found) == share for found in by_flow.values())
        return Polled(await self._start(by_flow), 0.0 if is_full else _LOOK)

    async def _start(self, by_flow: Mapping[str, list[int]]) -> tuple[Task, ...]:
        """Starts the tasks of these messages. If that fails for one flow, what was started of others is not lost."""
        started: tuple[Task, ...] = ()
        for flow_slug, msg_ids in by_flow.items():
            try:
                started += await self._database.run(self._start_call(flow_slug, msg_ids))
            except Exception:
                self._doubtful.append((flow_slug, msg_ids))
                if not started:
                    raise
                logger.debug("starting tasks of %s", flow_slug, exc_info=True)
        return started

    async def _resolve_doubts(self) -> None:
        """Hands back what was started although the answer got lost: that core might never do."""
        while self._doubtful:
            flow_slug, msg_ids = self._doubtful[0]
            for key in await self._database.run(calls_foreign.started_tasks(flow_slug, msg_ids, self._worker_id)):
                await self._release(key)
            self._doubtful.popleft()

    def _start_call(self, flow_slug: str, msg_ids: Sequence[int]) -> Call[tuple[Task, ...]]:
        return calls_foreign.start_tasks(
            flow_slug, msg_ids, self._worker_id, has_flow_input=self._features.has_flow_input
        )

    # -- settling

    async def settle_and_poll(
        self, outcomes: Sequence[Outcome], flow_slugs: Sequence[str], qty: int, only_follow_ups: bool
    ) -> Settled:
        verdicts = await self.settle(outcomes)
        try:
            return verdicts, await self.poll(flow_slugs, qty)
        except Exception:  # the fetcher will meet it, too, and say so; the outcomes are settled
            logger.debug("polling", exc_info=True)
            return verdicts, Polled((), _LOOK)

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Verdict]:
        """If one cannot be sent, all are to be tried again: those that were sent are 'stale' by then."""
        verdicts: list[Verdict] = []
        for verdict in await asyncio.gather(*map(self._settle, outcomes), return_exceptions=True):
            if isinstance(verdict, BaseException):
                raise verdict
            verdicts.append(verdict)
        return verdicts

    async def _settle(self, outcome: Outcome) -> Verdict:
        async with self._flights:
            match outcome.status:
                case "completed":
                    answer = await self._database.run(calls_foreign.complete_task(outcome, self._worker_id))
                case "released":
                    answer = await self._release(outcome.key)
                case _ if outcome.permanent:
                    answer = await self._fail_for_good(outcome)
                case _:
                    answer = await self._fail(outcome)
        return _verdict(outcome, answer)

    async def _fail(self, outcome: Outcome) -> Answer:
        answer = await self._database.run(calls_foreign.fail_task(outcome.key, self._worker_id, outcome.error or ""))
        if outcome.retry_in is not None:
            await self._show_in(answer, math.ceil(outcome.retry_in))
        return answer

    async def _fail_for_good(self, outcome: Outcome) -> Answer:
        """Fails the task and starts it again until no attempt is left; unless somebody else starts it meanwhile."""
        call = calls_foreign.fail_task(outcome.key, self._worker_id, outcome.error or "", or_later=True)
        while True:
            answer = await self._database.run(call)
            if answer.status != "queued" or answer.message is None:
                return answer
            if not await self._database.run(self._start_call(answer.message.flow_slug, [answer.message.msg_id])):
                return answer

    async def _release(self, key: TaskKey) -> Answer:
        """Fails the attempt. The last one is left to the core's requeueing, in versions that have it."""
        make = calls_foreign.give_up_attempt if self._features.has_requeue else calls_foreign.fail_task
        answer = await self._database.run(make(key, self._worker_id, _RELEASED))
        await self._show_in(answer, 0)
        return answer

    async def _show_in(self, answer: Answer, seconds: int) -> None:
        if answer.status == "queued" and answer.message is not None:
            await self._database.run(calls_foreign.show_in(answer.message, seconds))


class Requeueing(Service):
    """Calls the core's own recovery now and then: outside of Supabase nothing else does."""

    activity = "requeueing stalled tasks"

    def __init__(self, database: AsyncDatabase) -> None:
        super().__init__()
        self._database = database

    async def run_once(self) -> float | None:
        await self._database.run(calls.requeue_stalled_tasks())
        return _REQUEUE_INTERVAL * random.uniform(0.75, 1.25)  # noqa: S311  # so that workers do not march in step


def _verdict(outcome: Outcome, answer: Answer) -> Verdict:
    """The core gives none: it follows from what the task was before the call, and is after it."""
    if not answer.was_held:
        return "stale"
    wanted = ("completed",) if outcome.status == "completed" else ("queued", "failed")
    return "applied" if answer.status in wanted else "gone"


def _differences(flow: Flow[Any, Any], stored: Mapping[str, tuple[str, list[str]]]) -> list[str]:
    """What a worker could not work with; options and conditions are the database's, whatever the code says."""
    found = [f"step {slug!r} is in the database, but not in the code" for slug in stored if slug not in flow.steps]
    for slug, step in flow.steps.items():
        if slug not in stored:
            found.append(f"step {slug!r} is in the code, but not in the database")
            continue
        step_type, dependencies = stored[slug]
        if step_type != step.step_type:
            found.append(f"step {slug!r} is a {step.step_type} step in the code, a {step_type} step in the database")
        if sorted(dependencies) != sorted(step.dependencies):
            found.append(
                f"step {slug!r} depends on {sorted(step.dependencies)} in the code, on {sorted(dependencies)} in the "
                "database"
            )
    return found


def _faults(flow: Flow[Any, Any]) -> list[str]:
    """What of a flow py-pgflow's own core alone knows."""
    faults = [
        f"step {step.slug!r} has {option}, which py-pgflow's own core alone knows, not core='foreign'"
        for step in flow.steps.values()
        for option, is_used in (
            ("initial_tasks", step.options.initial_tasks is not None),
            ("transactional", step.options.transactional),
        )
        if is_used
    ]
    if flow.schedules:
        faults.append("it has schedules, which py-pgflow's own core alone knows, not core='foreign'")
    return faults
