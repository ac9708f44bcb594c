"""A client and a worker for one run: start it, work it here, return its output."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from pgflow.client import AsyncClient
from pgflow.errors import RunFailed
from pgflow.flow import Flow
from pgflow.records import Run
from pgflow.worker import Worker

#: Seconds that other tasks of the flow, which this process happened to take, get to finish when the run has ended.
_GRACE = 5.0


def execute(
    flow: Flow[Any, Any], input: Any, *, timeout: float | None = None, dsn: str | None = None
) -> dict[str, Any]:
    """Runs a flow and returns its output, `{final_step: output}`.

        result = pgflow.execute(campaign, {"campaign_id": 123})

    Works on the flow's queue in this process until the run has ended; other workers may help, and finish it if this
    process dies. Also callable where an event loop runs already (a notebook). Raises FlowDefinitionError and
    InvalidInputError before any I/O, RunFailed if the run failed, RunTimeout after `timeout` seconds (the run itself
    goes on), DatabaseUnreachable, SchemaError, FlowMismatch.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(aexecute(flow, input, timeout=timeout, dsn=dsn))
    return _in_thread(flow, input, timeout, dsn)


def _in_thread(flow: Flow[Any, Any], input: Any, timeout: float | None, dsn: str | None) -> dict[str, Any]:
    """For callers whose thread runs an event loop already: another thread, another loop."""
    output: list[dict[str, Any]] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            output.append(asyncio.run(aexecute(flow, input, timeout=timeout, dsn=dsn)))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="pgflow-execute")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return output[0]


async def aexecute(
    flow: Flow[Any, Any], input: Any, *, timeout: float | None = None, dsn: str | None = None
) -> dict[str, Any]:
    """`execute` for async code: the same, and the event loop stays free."""
    flow.check()
    flow.encode_input(input)
    async with Worker([flow], dsn=dsn, grace=_GRACE) as worker, AsyncClient(worker.dsn) as client:
        run = await client.start(flow, input)
        return output_of(await client.wait(run, timeout=timeout))


def output_of(run: Run) -> dict[str, Any]:
    """A finished run's output; raises RunFailed if it has none because it failed."""
    if run.status == "completed":
        output: dict[str, Any] = run.output or {}
        return output
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
