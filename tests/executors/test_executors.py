"""Where handlers run: every end of a handler is a Result, nothing reaches the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pgflow.executors import Executor, LoopExecutor, ThreadExecutor

ERRORS = [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]


@pytest.fixture
def threads() -> Iterator[ThreadExecutor]:
    executor = ThreadExecutor()
    yield executor
    executor.close()


async def submit(executor: Executor, fn: Any, **arguments: Any) -> Any:
    """Runs a plain function, as a coroutine where the executor wants one."""

    async def on_loop(**arguments: Any) -> Any:
        return fn(**arguments)

    return await executor.submit(on_loop if isinstance(executor, LoopExecutor) else fn, arguments)


@pytest.mark.parametrize("make", [LoopExecutor, ThreadExecutor])
async def test_a_value_is_a_result(make: type) -> None:
    executor = make()
    result = await submit(executor, lambda a, b: a + b, a=1, b=2)
    assert (result.value, result.error) == (3, None)
    executor.close()


@pytest.mark.parametrize("make", [LoopExecutor, ThreadExecutor])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_whatever_is_raised_is_a_result(make: type, error: BaseException) -> None:
    def fail() -> None:
        raise error

    executor = make()
    assert (await submit(executor, fail)).error is error
    executor.close()


async def test_stop_iteration_of_a_thread_is_a_result(threads: ThreadExecutor) -> None:
    assert isinstance((await threads.submit(lambda: next(iter(())), {})).error, StopIteration)


async def test_threads_are_reused_and_only_as_many_as_were_needed_at_once(threads: ThreadExecutor) -> None:
    def name() -> str:
        return threading.current_thread().name

    assert len({(await threads.submit(name, {})).value for _ in range(5)}) == 1
    meeting = threading.Barrier(3, timeout=20)
    await asyncio.gather(*(threads.submit(meeting.wait, {}) for _ in range(3)))
    again = [await threads.submit(name, {}) for _ in range(9)]
    assert {result.value for result in again} <= {f"pgflow-handler-{n}" for n in (1, 2, 3)}


async def test_a_thread_sees_the_context_variables_of_its_caller(threads: ThreadExecutor) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("callers")
    assert (await threads.submit(variable.get, {})).value == "callers"


async def test_a_thread_cannot_be_cancelled(threads: ThreadExecutor) -> None:
    began, enough = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        assert enough.wait(20)
        return threading.current_thread().name

    future = threads.submit(slow, {})
    await asyncio.to_thread(began.wait, 20)
    assert not future.cancel()
    assert not future.done()
    enough.set()
    assert (await future).value.startswith("pgflow-handler-")


def test_a_thread_that_outlives_its_loop_is_forgotten() -> None:
    enough, ended = threading.Event(), threading.Event()

    def slow() -> None:
        enough.wait(20)
        ended.set()

    async def leave() -> None:
        ThreadExecutor().submit(slow, {})

    asyncio.run(leave())
    enough.set()
    assert ended.wait(20)


async def test_cancelling_the_future_of_a_coroutine_cancels_it() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        try:
            began.set()
            await asyncio.sleep(600)
        finally:
            ended.set()

    future = LoopExecutor().submit(endless, {})
    await began.wait()
    future.cancel()
    await asyncio.wait({future})
    assert future.cancelled()
    assert ended.is_set()


def test_a_coroutine_that_ignores_its_cancellation_does_not_keep_the_loop_from_closing() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def leave() -> asyncio.Future[Any]:
        executor = LoopExecutor()
        future = executor.submit(stubborn, {})
        await asyncio.sleep(0)
        executor.close()
        return future

    future = asyncio.run(leave())
    assert not future.done()
    future._log_destroy_pending = False  # that it is destroyed while pending is the point
