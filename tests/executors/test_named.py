"""Executors with a name: what their futures say, and what is made of it."""

from __future__ import annotations

import asyncio
import gc
import platform
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from pgflow.errors import InvalidInputError
from pgflow.executors import ExecutorFailed, FromProcess, Job, NamedExecutor
from tests.executors import flows
from tests.support import aeventually

CONTEXT = {"flow_slug": "f", "run_id": "r", "step_slug": "s", "task_index": 0, "attempt": 1, "max_attempts": 2}


class ByHand(ThreadPoolExecutor):
    """Its futures end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[Future[Any]] = []

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


def job(name: str, given: str = "null") -> Job:
    return Job(name, b"{}", given.encode(), CONTEXT)


async def test_what_waits_is_cancelled_and_what_runs_is_not() -> None:
    executor = ByHand()
    named = NamedExecutor("hand", executor, [])
    waits, runs = named.submit(job("")), named.submit(job(""))
    executor.futures[1].set_running_or_notify_cancel()
    assert waits.cancel()
    assert not runs.cancel()
    result = await waits
    assert isinstance(result.error, ExecutorFailed)
    assert str(result.error) == "executor 'hand' lost a task (CancelledError)"
    assert not runs.done()
    executor.futures[1].set_exception(OSError("the node is gone"))
    assert str((await runs).error) == "executor 'hand' lost a task (OSError: the node is gone)"
    assert not runs.cancel()


async def test_of_an_executor_that_does_not_say_what_runs_nothing_is_cancelled() -> None:
    class Unknown(Executor):
        submit = ByHand.submit
        futures: ClassVar[list[Future[Any]]] = []

    executor: Any = Unknown()
    future = NamedExecutor("hand", executor, []).submit(job(""))
    assert not future.cancel()
    assert not executor.futures[0].cancelled()


async def test_a_cluster_that_cannot_be_asked_to_cancel_is_none_that_did() -> None:
    class Gone(Future[Any]):
        def cancel(self) -> bool:
            raise OSError("no connection")

    class Cluster(ByHand):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            return Gone()

    assert not NamedExecutor("hand", Cluster(), []).submit(job("")).cancel()


async def test_a_late_result_that_does_not_fit_is_no_unretrieved_exception() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    with ThreadPoolExecutor(1) as executor:
        named = NamedExecutor("pool", executor, [flows.pool_end])
        future = named.submit(job(named.name(flows.pool_end), '"no json"'))
        await aeventually(future.done)
        with pytest.raises(InvalidInputError, match="the handler's result: not JSON"):
            future.result()
        future = named.submit(job(named.name(flows.pool_end), '"no json"'))
        await aeventually(future.done)
    del future
    gc.collect()
    assert told == []


async def test_a_step_that_is_not_there_is_said_with_its_place_and_what_to_do() -> None:
    with ThreadPoolExecutor(1) as executor:
        named = NamedExecutor("pool", executor, [])
        errors = [
            (await named.submit(job(name))).error
            for name in ("nowhere:flow#step", "tests.executors.flows:gone#step", "tests.executors.flows:local#gone")
        ]
    assert all(isinstance(error, FromProcess) and type(error).__name__ == "ExecutorError" for error in errors)
    host = platform.node()
    assert str(errors[0]) == (
        f"nowhere:flow#step is not found on {host} (ModuleNotFoundError: No module named 'nowhere'): "
        "install the flow's module wherever its handlers run"
    )
    assert "has no attribute 'gone'" in str(errors[1])
    assert "(KeyError: 'gone')" in str(errors[2])


def test_a_handler_that_outlives_its_loop_is_forgotten() -> None:
    executor = ByHand()

    async def leave() -> None:
        NamedExecutor("hand", executor, []).submit(job(""))

    asyncio.run(leave())
    executor.futures[0].set_result(None)
