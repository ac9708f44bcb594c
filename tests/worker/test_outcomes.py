"""How a handler's end becomes its task's: retries, permanent failures, and what cannot be stored."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import psycopg
import pytest
from pydantic import AfterValidator, BaseModel

from pgflow import AsyncClient, Context, Flow, Permanent, RetryAfter, Run, Worker
from pgflow.worker.error_text import LONGEST_ERROR
from tests.support import value
from tests.worker.support import one_task_flow, tasks, work


async def failed_task(
    dsn: str, conn: psycopg.Connection, handler: Callable[..., Any], **options: Any
) -> dict[str, Any]:
    """Runs a flow of this one handler, which must fail its run; returns the task's row."""
    flow = one_task_flow(handler, **options)
    assert (await work(dsn, flow)).status == "failed"
    (task,) = tasks(conn, "only")
    assert task["status"] == "failed"
    return task


async def test_a_failure_is_retried_after_the_backoff_until_it_succeeds(dsn: str, conn: psycopg.Connection) -> None:
    starts: list[float] = []

    def flaky(ctx: Context) -> str:
        starts.append(asyncio.run(_now()))
        if ctx.attempt == 1:
            raise RuntimeError("first time")
        return "done"

    flow = Flow("backoff")
    flow.step(slug="only", base_delay=1)(flaky)
    assert (await work(dsn, flow)).output == {"only": "done"}
    assert starts[1] - starts[0] >= 2  # base_delay · 2¹
    (task,) = tasks(conn, "only")
    assert (task["attempts_count"], task["error_message"]) == (2, "RuntimeError: first time")


async def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_attempts_end_at_max_attempts(dsn: str, conn: psycopg.Connection) -> None:
    attempts: list[int] = []

    async def hopeless(ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("no good")

    task = await failed_task(dsn, conn, hopeless, max_attempts=3)
    assert attempts == [1, 2, 3]
    assert (task["attempts_count"], task["error_message"]) == (3, "ValueError: no good")


async def test_permanent_is_not_retried(dsn: str, conn: psycopg.Connection) -> None:
    def give_up() -> None:
        raise Permanent("the account is closed")

    task = await failed_task(dsn, conn, give_up, max_attempts=5)
    assert (task["attempts_count"], task["error_message"]) == (1, "Permanent: the account is closed")


async def test_retry_after_overrides_the_backoff(dsn: str, conn: psycopg.Connection) -> None:
    starts: list[float] = []

    async def rate_limited(ctx: Context) -> int:
        starts.append(await _now())
        if ctx.attempt == 1:
            raise RetryAfter(0.5)
        return ctx.attempt

    flow = Flow("limited", base_delay=1000)
    flow.step(slug="only")(rate_limited)
    assert (await work(dsn, flow)).output == {"only": 2}
    assert starts[1] - starts[0] >= 0.5


async def test_retry_after_uses_up_attempts(dsn: str, conn: psycopg.Connection) -> None:
    def again() -> None:
        raise RetryAfter(0, "still busy")

    task = await failed_task(dsn, conn, again, max_attempts=2)
    assert (task["attempts_count"], task["error_message"]) == (2, "RetryAfter: still busy")


class Nameless(BaseException):
    """Not even an Exception."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


RAISED = [
    (SystemExit(3), "SystemExit: 3"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (GeneratorExit(), "GeneratorExit"),
    (StopIteration(1), "StopIteration: 1"),
    (StopAsyncIteration(), "StopAsyncIteration"),
    (asyncio.CancelledError("mine"), "CancelledError: mine"),
    (Nameless("deep"), "Nameless: deep"),
    (Unprintable(), "Unprintable: (its message cannot be printed)"),
    (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup: two (2 sub-exceptions)"),
    (ValueError("nul \0 in it"), "ValueError: nul \\0 in it"),
    (ValueError("half \ud83d a pair"), "ValueError: half \\ud83d a pair"),
    (ValueError("100 % {} 'quoted' \\ ü😀"), "ValueError: 100 % {} 'quoted' \\ ü😀"),
]


@pytest.mark.parametrize("where", ["thread", "loop"])
@pytest.mark.parametrize(
    ("error", "stored"), RAISED, ids=[stored.split(":")[0] + str(i) for i, (_, stored) in enumerate(RAISED)]
)
async def test_whatever_a_handler_raises_fails_its_task_and_leaves_the_worker_alive(
    dsn: str, conn: psycopg.Connection, where: str, error: BaseException, stored: str
) -> None:
    def plain(n: int) -> int:
        if n == 1:
            raise error
        return n

    async def on_loop(n: int) -> int:
        return plain(n)

    flow = Flow("raising", max_attempts=1)
    flow.map(slug="only", when_exhausted="skip")(plain if where == "thread" else on_loop)
    async with Worker([flow], dsn=dsn) as worker, AsyncClient(dsn) as client:
        first = await client.wait(await client.start(flow, [1]), timeout=30)
        second = await client.wait(await client.start(flow, [2]), timeout=30)
        assert worker.worker_id
    # a coroutine turns these into a RuntimeError before anybody can see them
    if where == "loop" and isinstance(error, StopIteration):
        stored = "RuntimeError: coroutine raised StopIteration"
    assert first.steps["only"].error_message == stored
    assert second.output == {"only": [2]}


async def test_a_very_long_error_is_cut(dsn: str, conn: psycopg.Connection) -> None:
    def verbose() -> None:
        raise ValueError("x" * 1_000_000)

    task = await failed_task(dsn, conn, verbose, max_attempts=1)
    assert len(task["error_message"]) == LONGEST_ERROR
    assert task["error_message"].endswith("x…")


class Strict(BaseModel):
    count: int


async def test_an_input_that_does_not_fit_fails_for_good_with_pydantics_message(
    dsn: str, conn: psycopg.Connection
) -> None:
    def typed(flow_input: Strict) -> None:
        raise AssertionError("called")

    flow = one_task_flow(typed, max_attempts=5)
    assert (await work(dsn, flow, {"count": "many"})).status == "failed"
    (task,) = tasks(conn, "only")
    assert task["attempts_count"] == 1
    assert "count: Input should be a valid integer" in task["error_message"]
    assert "'many'" in task["error_message"]


ESCAPES = [SystemExit("out"), KeyboardInterrupt("out"), asyncio.CancelledError("out")]


def escape(index: int) -> int:
    raise ESCAPES[index]


@pytest.mark.parametrize("index", range(3), ids=lambda index: type(ESCAPES[index]).__name__)
async def test_a_validator_that_raises_anything_fails_its_task_and_leaves_the_worker_alive(
    dsn: str, index: int
) -> None:
    def typed(flow_input: Annotated[int, AfterValidator(escape)]) -> None:
        raise AssertionError("called")

    run = await work(dsn, one_task_flow(typed, max_attempts=1), index)
    assert run.error == f"{type(ESCAPES[index]).__name__}: out"


NO_JSON = [
    (object(), "object is no JSON"),
    ({1, 2}, "set is no JSON"),
    (b"bytes", "bytes travel as base64 text"),
    (float("nan"), "nan at $"),
    ({"deep": [float("inf")]}, "inf at $.deep[0]"),
    ({"text": "a\0b"}, "NUL character in the text at $.text"),
    ("half \ud83d", "half a surrogate pair"),
]


@pytest.mark.parametrize(("output", "message"), NO_JSON, ids=[message for _, message in NO_JSON])
async def test_an_output_that_cannot_be_stored_fails_for_good_and_says_where(
    dsn: str, conn: psycopg.Connection, output: Any, message: str
) -> None:
    def handler() -> Any:
        return output

    task = await failed_task(dsn, conn, handler, max_attempts=5)
    assert task["attempts_count"] == 1
    assert message in task["error_message"]


async def test_an_output_that_does_not_fit_its_annotation_fails_for_good(dsn: str, conn: psycopg.Connection) -> None:
    def wrong() -> int:
        return "seven"  # type: ignore[return-value]

    task = await failed_task(dsn, conn, wrong, max_attempts=5)
    assert task["attempts_count"] == 1
    assert "the handler's result" in task["error_message"]


@pytest.fixture
def _any_number_of_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.usefixtures("_any_number_of_digits")
@pytest.mark.parametrize("guilty", [{0}, {7}, {3, 19}])
async def test_an_output_that_the_database_refuses_does_not_take_its_neighbours_down(
    dsn: str, conn: psycopg.Connection, guilty: set[int]
) -> None:
    together = asyncio.Barrier(20)

    async def handler(flow_input: int) -> Any:
        async with asyncio.timeout(20):
            await together.wait()  # so that all twenty are settled in one batch
        return 10**200_000 if flow_input in guilty else flow_input

    flow = one_task_flow(handler, max_attempts=3)
    async with Worker([flow], dsn=dsn, concurrency=20), AsyncClient(dsn) as client:
        runs = await client.start_many(flow, range(20))
        ended = [await client.wait(run, timeout=30) for run in runs]
    assert {run.input for run in ended if run.status == "failed"} == guilty
    assert [run.output["only"] for run in ended if run.status == "completed"] == sorted({*range(20)} - guilty)
    assert all("numeric format" in (ended[n].error or "") for n in guilty)
    assert {task["attempts_count"] for task in tasks(conn, "only")} == {1}


async def test_a_type_violation_fails_the_run(dsn: str) -> None:
    flow = Flow("violation", max_attempts=5)

    @flow.step
    def source() -> Any:
        return {"no": "list"}

    @flow.map(over=source)
    def each(item: Any) -> Any:
        return item

    run: Run = await work(dsn, flow)
    assert run.status == "failed"
    assert "[TYPE_VIOLATION]" in (run.steps["source"].error_message or "")


async def test_a_step_that_the_code_does_not_know_fails_for_good(dsn: str, conn: psycopg.Connection) -> None:
    flow = one_task_flow(lambda: None)
    async with Worker([flow], dsn=dsn), AsyncClient(dsn) as client:
        conn.execute("select pgflow.add_step('solo', 'stranger', max_attempts => 5)")
        run = await client.wait(await client.start("solo", {}), timeout=30)
    assert run.status == "failed"
    assert "no step 'stranger'" in (run.error or "")
    assert value(conn, "select attempts_count from pgflow.step_tasks where step_slug = 'stranger'") == 1
