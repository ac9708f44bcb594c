"""A client and a worker for one run: start it, or go on with it, work it here, return its output."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast
from uuid import UUID

from pgflow.client import AsyncClient
from pgflow.client.arguments import checked_timeout
from pgflow.errors import InvalidInputError, RunFailed, RunNotFound
from pgflow.flow import Flow
from pgflow.flow.flow import In, Out, expect_flow
from pgflow.records import Run
from pgflow.worker import Executors, Worker
from pgflow.worker.worker import has_loop

#: Seconds that other tasks of the flow, which this process happened to take, get to finish when the run has ended.
_GRACE = 5.0


def execute(
    flow: Flow[In, Out],
    input: In,
    *,
    timeout: float | None = None,
    dsn: str | None = None,
    executors: Executors[Worker] | None = None,
) -> Out:
    """Runs a flow and returns its output, `{final_step: output}`; typed where the flow is (`Flow[In, Out]`).

        result = pgflow.execute(campaign, {"campaign_id": 123})

    Works on the flow's queue in this process until the run has ended; other workers may help, and finish it if this
    process dies. Also callable where an event loop runs already (a notebook). `executors` are those of Worker. Raises
    FlowDefinitionError, InvalidInputError and ExecutorError before any I/O, RunFailed if the run failed, RunTimeout
    after `timeout` seconds (the run itself goes on), DatabaseUnreachable, SchemaError, FlowMismatch.
    """
    return _blocking(lambda: aexecute(flow, input, timeout=timeout, dsn=dsn, executors=executors))


async def aexecute(
    flow: Flow[In, Out],
    input: In,
    *,
    timeout: float | None = None,
    dsn: str | None = None,
    executors: Executors[Worker] | None = None,
) -> Out:
    """`execute` for async code: the same, and the event loop stays free."""
    expect_flow(flow)
    checked_timeout(timeout)
    flow.check()
    flow.encode_input(input)
    serving = Worker([flow], dsn=dsn, grace=_GRACE, executors=executors)
    async with serving as worker, AsyncClient(worker.dsn) as client:
        run = await client.start(flow, input)
        return output_of(await client.wait(run, timeout=timeout))


def execute_dynamic(
    flow_slug: str,
    input: Any,
    functions: Mapping[str, Callable[..., Any]],
    *,
    run_id: UUID | str | None = None,
    timeout: float | None = None,
    dsn: str | None = None,
    executors: Executors[Worker] | None = None,
) -> dict[str, Any]:
    """Runs a flow that lives only in the database, with the functions that the caller brings, by step (or by the
    handler that a step names), and returns its output.

        result = pgflow.execute_dynamic("report", {"topic": "bees"}, {"fetch": fetch, "summarize": summarize})

    With a `run_id`, the same call goes on after a crash: a run of this id is worked on and waited for, and its input
    is the one that it was started with. The functions' parameters and options are those of `Flow.of`, `executors` those
    of Worker. Raises FlowNotFound, FlowDefinitionError where steps and functions do not fit, InvalidInputError also for
    a run of another flow, and else what `execute` does.
    """
    return _blocking(
        lambda: aexecute_dynamic(
            flow_slug, input, functions, run_id=run_id, timeout=timeout, dsn=dsn, executors=executors
        )
    )


async def aexecute_dynamic(
    flow_slug: str,
    input: Any,
    functions: Mapping[str, Callable[..., Any]],
    *,
    run_id: UUID | str | None = None,
    timeout: float | None = None,
    dsn: str | None = None,
    executors: Executors[Worker] | None = None,
) -> dict[str, Any]:
    """`execute_dynamic` for async code: the same, and the event loop stays free."""
    checked_timeout(timeout)
    async with AsyncClient(dsn) as client:
        flow = Flow.of(await client.flows.get(flow_slug), functions)
        flow.encode_input(input)
        async with Worker([flow], dsn=client.dsn, grace=_GRACE, executors=executors):
            run = await _started(client, flow, input, run_id)
            return output_of(await client.wait(run, timeout=timeout))


async def _started(client: AsyncClient, flow: Flow[In, Out], input: In, run_id: UUID | str | None) -> Run[Out]:
    """The run of this id, or a new one."""
    if run_id is None:
        return await client.start(flow, input)
    try:
        run: Run[Any] = await client.get_run(run_id)
    except RunNotFound:
        return await client.start(flow, input, run_id=run_id)
    if run.flow_slug != flow.slug:
        raise InvalidInputError(f"run {run_id} is one of flow {run.flow_slug!r}, not of {flow.slug!r}")
    return run


def _blocking(work: Callable[[], Coroutine[Any, Any, Out]]) -> Out:
    """Runs it on an event loop of its own; in a thread of its own, where this one runs a loop already."""
    if not has_loop():
        return asyncio.run(work())
    output: list[Out] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            output.append(asyncio.run(work()))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="pgflow-execute")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return output[0]


def output_of(run: Run[Out]) -> Out:
    """A finished run's output; raises RunFailed if it has none because it failed."""
    if run.status == "completed":
        return run.output or cast(Out, {})
    task = run.failed_task
    step = next((s.step_slug for s in run.steps.values() if s.status == "failed"), None)
    raise RunFailed(
        run.run_id,
        run.flow_slug,
        step=task.step_slug if task else step,
        task_index=task.task_index if task else None,
        attempt=task.attempt if task else None,
        error=(task.error_message if task else None) or run.error,
    )
