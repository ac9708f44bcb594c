"""What handlers get and give: arguments, context, outputs; where they run."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from pgflow import AsyncClient, Context, Flow, Worker, needs
from tests.worker.support import work


class Order(BaseModel):
    number: int
    items: list[str]


async def test_a_dag_with_a_map_and_an_aggregate_gives_its_final_steps_output(dsn: str) -> None:
    flow = Flow("dag")

    @flow.step
    def numbers(flow_input: dict[str, int]) -> list[int]:
        return list(range(flow_input["upto"]))

    @flow.map(over=numbers)
    async def square(n: int) -> int:
        return n * n

    @flow.step
    def total(square: list[int], numbers: list[int]) -> dict[str, int]:
        return {"sum": sum(square), "count": len(numbers)}

    run = await work(dsn, flow, {"upto": 30})
    assert (run.status, run.output) == ("completed", {"total": {"sum": 8555, "count": 30}})
    assert run.steps["square"].output == [n * n for n in range(30)]


async def test_a_map_over_the_runs_input_and_one_with_a_fixed_number_of_tasks(dsn: str) -> None:
    flow = Flow("root_maps")

    @flow.map
    def upper(word: str) -> str:
        return word.upper()

    @flow.map(initial_tasks=3)
    def index(n: int) -> int:
        return n

    assert (await work(dsn, flow, ["a", "b"])).output == {"upper": ["A", "B"], "index": [0, 1, 2]}


async def test_an_empty_map_completes_without_a_task(dsn: str) -> None:
    flow = Flow("empty")

    @flow.map
    def never(element: Any) -> Any:
        raise AssertionError("called")

    @flow.step
    def after(never: list[Any]) -> int:
        return len(never)

    assert (await work(dsn, flow, [])).output == {"after": 0}


async def test_plain_functions_run_in_threads_and_async_ones_on_the_loop(dsn: str) -> None:
    flow = Flow("places")

    @flow.step
    def plain() -> str:
        return threading.current_thread().name

    @flow.step
    async def on_loop() -> str:
        return threading.current_thread().name

    output = (await work(dsn, flow)).output
    assert output["plain"].startswith("pgflow-handler-")
    assert output["on_loop"] == threading.main_thread().name


async def test_plain_handlers_run_at_the_same_time(dsn: str) -> None:
    flow = Flow("abreast")
    meeting = threading.Barrier(4, timeout=20)

    @flow.map
    def meet(n: int) -> None:
        meeting.wait()

    assert (await work(dsn, flow, [0] * 4, concurrency=4)).status == "completed"


async def test_the_context_says_which_task_it_is(dsn: str) -> None:
    flow = Flow("contexts", max_attempts=4, timeout=50)
    seen: list[Context] = []

    @flow.map
    async def look(n: int, ctx: Context) -> None:
        seen.append(ctx)

    before = datetime.now(UTC)
    async with Worker([flow], dsn=dsn) as worker, AsyncClient(dsn) as client:
        run = await client.wait(await client.start(flow, [7]), timeout=30)
    (ctx,) = seen
    assert (ctx.flow_slug, ctx.run_id, ctx.step_slug, ctx.task_index) == ("contexts", run.run_id, "look", 0)
    assert (ctx.attempt, ctx.max_attempts, ctx.resources) == (1, 4, {})
    assert ctx.worker_id == worker.worker_id
    assert ctx.deadline is not None
    assert before < ctx.deadline - timedelta(seconds=50) < datetime.now(UTC)
    assert not ctx.cancelled.is_set()


async def test_the_context_counts_attempts(dsn: str) -> None:
    flow = Flow("attempts", base_delay=0, max_attempts=3)

    @flow.step
    def third_time_lucky(ctx: Context) -> int:
        if ctx.attempt < ctx.max_attempts:
            raise RuntimeError("not yet")
        return ctx.attempt

    assert (await work(dsn, flow)).output == {"third_time_lucky": 3}


async def test_values_cross_the_database_by_their_annotations(dsn: str) -> None:
    flow = Flow("typed")

    @flow.step
    def take(flow_input: Order) -> Order:
        return Order(number=flow_input.number + 1, items=flow_input.items * 2)

    @flow.step
    def show(order: Order = needs(take)) -> str:
        return f"{type(order).__name__} {order.number} {order.items}"

    run = await work(dsn, flow, Order(number=1, items=["a"]))
    assert run.output["show"] == "Order 2 ['a', 'a']"


@pytest.mark.parametrize("given", [None, 0, "", False, [], {}, 1.5, "ü€😀", {"a": [None, {"b": 2}]}])
async def test_plain_json_comes_through_unchanged(dsn: str, given: Any) -> None:
    flow = Flow("echo")

    @flow.step
    def first(flow_input: Any) -> Any:
        return flow_input

    @flow.step
    def second(first: Any) -> Any:
        return first

    assert (await work(dsn, flow, given)).output == {"second": given}


async def test_flow_input_reaches_dependent_steps_and_map_tasks(dsn: str) -> None:
    flow = Flow("inputs")

    @flow.step
    def parts() -> list[int]:
        return [1, 2, 3]

    @flow.map(over=parts)
    async def scale(part: int, flow_input: dict[str, int]) -> int:
        return part * flow_input["factor"]

    @flow.step
    def total(scale: list[int], flow_input: dict[str, int]) -> int:
        return sum(scale) + flow_input["plus"]

    assert (await work(dsn, flow, {"factor": 10, "plus": 5})).output == {"total": 65}


async def test_each_run_gets_its_own_input(dsn: str) -> None:
    flow = Flow("own_inputs")

    @flow.step
    def begin() -> int:
        return 1

    @flow.step(depends_on=[begin])
    async def finish(ctx: Context) -> int:
        return await ctx.load_input(int)

    async with Worker([flow], dsn=dsn), AsyncClient(dsn) as client:
        runs = await client.start_many(flow, range(20))
        ended = await asyncio.gather(*(client.wait(run, timeout=30) for run in runs))
    assert [run.output["finish"] for run in ended] == list(range(20))


async def test_all_dependencies_come_as_one_dict_where_it_is_asked_for(dsn: str) -> None:
    flow = Flow("deps")

    @flow.step
    def left() -> int:
        return 1

    @flow.step
    def right() -> str:
        return "r"

    @flow.step(depends_on=[left, right])
    def both(deps: dict[str, Any]) -> Any:
        return deps

    assert (await work(dsn, flow)).output == {"both": {"left": 1, "right": "r"}}


async def test_a_parameter_of_a_skipped_dependency_gets_its_default(dsn: str) -> None:
    flow = Flow("optional")

    @flow.step(run_if={"wanted": True})
    def extra(flow_input: Any) -> str:
        return "extra"

    @flow.step
    def after(extra: str = "none") -> str:
        return extra

    assert (await work(dsn, flow, {"wanted": False})).output == {"after": "none"}
