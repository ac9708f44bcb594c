"""execute and aexecute: start a run, work on it here, return its output."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgflow import (
    AsyncClient,
    Client,
    Context,
    Flow,
    FlowSpec,
    RunFailed,
    RunTimeout,
    Worker,
    aexecute,
    aexecute_dynamic,
    execute,
    execute_dynamic,
)
from pgflow.errors import (
    DatabaseUnreachable,
    FlowDefinitionError,
    FlowMismatch,
    FlowNotFound,
    InvalidInputError,
    SchemaError,
)
from tests.support import value
from tests.worker.support import one_task_flow, process


def hello() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("hello")
    flow.step(slug="greet")(lambda flow_input: f"Hello, {flow_input}!")
    return flow


def test_execute_returns_the_output(dsn: str) -> None:
    assert execute(hello(), "Ada", dsn=dsn) == {"greet": "Hello, Ada!"}


def test_bytes_go_in_and_out(dsn: str) -> None:
    def flip(flow_input: bytes) -> bytes:
        return flow_input[::-1]

    def take(flip: bytes, flow_input: bytes) -> list[bytes]:
        return [flip, flow_input]

    flow: Flow[Any, Any] = Flow("binary")
    flow.step(flip)
    flow.step(take)
    assert execute(flow, b"GNP\x89\x00\xff", dsn=dsn) == {"take": ["_wCJUE5H", "R05QiQD_"]}


async def test_execute_works_inside_a_running_loop(dsn: str) -> None:
    assert execute(hello(), "Ada", dsn=dsn) == {"greet": "Hello, Ada!"}
    with pytest.raises(RunFailed):
        execute(one_task_flow(lambda: 1 / 0, max_attempts=1), None, dsn=dsn)


async def test_aexecute_leaves_the_loop_free(dsn: str) -> None:
    results = await asyncio.gather(*(aexecute(hello(), name, dsn=dsn) for name in ("Ada", "Bob")))
    assert results == [{"greet": "Hello, Ada!"}, {"greet": "Hello, Bob!"}]


def test_the_address_may_come_from_the_environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    assert execute(hello(), "Ada") == {"greet": "Hello, Ada!"}


def test_a_run_without_final_output_gives_an_empty_result(dsn: str) -> None:
    flow = one_task_flow(lambda: 1, run_if={"never": True})
    assert execute(flow, {}, dsn=dsn) == {}


def test_a_failed_run_says_where_and_why(dsn: str) -> None:
    flow: Flow[Any, Any] = Flow("failing", base_delay=0, max_attempts=2)

    @flow.step(when_exhausted="skip")
    def ignored() -> None:
        raise RuntimeError("not this one")

    @flow.map(initial_tasks=3)
    def broken(n: int) -> int:
        if n == 1:
            raise ValueError("element one")
        return n

    flow.step(slug="behind")(lambda broken: broken)
    with pytest.raises(RunFailed) as caught:
        execute(flow, None, dsn=dsn)
    error = caught.value
    assert (error.flow_slug, error.step, error.task_index, error.attempt) == ("failing", "broken", 1, 2)
    assert error.error == "ValueError: element one"
    assert error.__context__ is None  # its traceback begins with what failed
    assert f"run {error.run_id} of flow 'failing' failed in step 'broken' (task 1, attempt 2): ValueError: el" in str(
        error
    )


def test_a_run_that_no_handler_failed_says_why(dsn: str) -> None:
    flow: Flow[Any, Any] = Flow("unmet")
    flow.step(slug="ignored", max_attempts=1, when_exhausted="skip")(lambda: 1 / 0)
    flow.step(slug="picky", depends_on=["ignored"], run_if={"ignored": 1}, when_unmet="fail")(lambda: 1)
    with pytest.raises(RunFailed, match="Condition not met") as caught:
        execute(flow, {}, dsn=dsn)
    assert (caught.value.step, caught.value.task_index, caught.value.attempt) == ("picky", None, None)


def test_a_timeout_leaves_the_run_to_others(dsn: str, conn: psycopg.Connection) -> None:
    async def slow() -> None:
        await asyncio.sleep(60)

    flow = one_task_flow(slow, start_delay=60)
    with pytest.raises(RunTimeout):
        execute(flow, None, timeout=0.3, dsn=dsn)
    assert value(conn, "select status from pgflow.runs") == "started"


async def test_other_workers_of_the_flow_may_help(dsn: str) -> None:
    here: list[Any] = []
    both = threading.Barrier(2, timeout=20)

    def meet(n: int, ctx: Context) -> str:
        here.append(n)
        if n < 2:
            both.wait()
        return str(ctx.worker_id)

    flow: Flow[Any, Any] = Flow("helped")
    flow.map(slug="meet", max_attempts=1)(meet)
    async with Worker([flow], dsn=dsn, concurrency=1, poll_interval=0.02) as helper:
        # execute's own worker takes the rest of what the helper, who takes one at a time, has not
        output = await aexecute(flow, [0, 1], dsn=dsn)
    assert sorted(here) == [0, 1]
    assert len(output["meet"]) == 2
    assert helper.worker_id


@pytest.mark.parametrize("bad", [{1}, float("nan"), "\0", object()], ids=["set", "nan", "nul", "object"])
def test_an_input_that_is_no_json_changes_nothing(dsn: str, conn: psycopg.Connection, bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        execute(hello(), bad, dsn=dsn)
    assert value(conn, "select count(*) from pgflow.flows") == 0
    assert value(conn, "select count(*) from pgflow.workers") == 0


def test_an_input_that_is_no_list_is_refused_where_a_root_map_needs_one(dsn: str, conn: psycopg.Connection) -> None:
    flow: Flow[Any, Any] = Flow("mapping")
    flow.map(slug="each")(lambda n: n)
    with pytest.raises(InvalidInputError, match="must be a list"):
        execute(flow, {"a": 1}, dsn=dsn)
    assert value(conn, "select count(*) from pgflow.flows") == 0


def test_what_is_wrong_is_said_before_any_io() -> None:
    nowhere = "postgresql://127.0.0.1:1/nowhere"
    with pytest.raises(FlowDefinitionError):
        execute(Flow("empty"), None, dsn=nowhere)
    with pytest.raises(InvalidInputError):
        execute(hello(), {1}, dsn=nowhere)
    with pytest.raises(InvalidInputError, match=r"expected a pgflow.Flow, not 'hello'"):
        execute("hello", {}, dsn=nowhere)  # type: ignore[arg-type]
    for timeout in ("x", -1, float("nan")):
        with pytest.raises(InvalidInputError, match="timeout must be a number of seconds, from 0 on"):
            execute(hello(), 1, timeout=timeout, dsn=nowhere)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="timeout must be a number of seconds, from 0 on"):
            execute_dynamic("hello", 1, {}, timeout=timeout, dsn=nowhere)  # type: ignore[arg-type]
    with pytest.raises(DatabaseUnreachable):
        execute(hello(), 1, dsn=nowhere)


def test_a_database_without_schema_is_refused(empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="pgflow migrate"):
        execute(hello(), 1, dsn=empty_dsn)


async def test_another_flow_of_the_same_slug_is_refused(dsn: str, conn: psycopg.Connection) -> None:
    other: Flow[Any, Any] = Flow("hello")
    other.step(slug="another")(lambda: 1)
    async with AsyncClient(dsn) as client:
        await client.compile(other)
    with pytest.raises(FlowMismatch):
        await aexecute(hello(), "Ada", dsn=dsn)
    assert value(conn, "select count(*) from pgflow.runs") == 0


# ------------------------------------------------------------------------------------ execute_dynamic

COUNTING = {
    "slug": "counting",
    "max_attempts": 1,
    "steps": [
        {"slug": "split"},
        {"slug": "count", "step_type": "map", "depends_on": ["split"], "handler": "size"},
        {"slug": "total", "depends_on": ["count"]},
    ],
}


def split(input: dict[str, Any]) -> list[str]:
    return input["text"].split()


async def size(word: str, flow_input: dict[str, Any]) -> int:
    return len(word) * flow_input["times"]


def total(count: list[int]) -> int:
    return sum(count)


@pytest.fixture
def counting(dsn: str) -> str:
    with Client(dsn) as client:
        client.compile(FlowSpec.load(COUNTING))
    return "counting"


def test_a_flow_that_lives_only_in_the_database_runs_with_functions(dsn: str, counting: str) -> None:
    functions = {"split": split, "size": size, "total": total, "unused": print}
    assert execute_dynamic(counting, {"text": "a bcd", "times": 2}, functions, dsn=dsn) == {"total": 8}
    functions["count"] = lambda word: 1  # by step goes before by handler
    assert execute_dynamic(counting, {"text": "a bcd", "times": 2}, functions, dsn=dsn) == {"total": 2}


async def test_what_cannot_run_is_refused_before_anything_is_started(
    dsn: str, counting: str, conn: psycopg.Connection
) -> None:
    functions = {"split": split, "size": size, "total": total}
    other = one_task_flow(lambda: 1)
    async with AsyncClient(dsn) as client:
        foreign = (await client.start(other, 1)).run_id
    for slug, input, given, options, error, message in (
        ("nowhere", 1, functions, {}, FlowNotFound, "flow 'nowhere' is not in the database"),
        (counting, 1, {"split": split, "siez": size, "total": total}, {}, FlowDefinitionError, "did you mean 'siez'"),
        (counting, 1, {**functions, "total": lambda split: 1}, {}, FlowDefinitionError, "does not depend on 'split'"),
        (
            counting,
            1,
            {**functions, "size": 3},
            {},
            FlowDefinitionError,
            "'count': 'size' must be a function",
        ),
        (counting, {1}, functions, {}, InvalidInputError, "set"),
        (counting, 1, functions, {"run_id": "no id"}, InvalidInputError, "'no id' is no run id"),
        (counting, 1, functions, {"run_id": foreign}, InvalidInputError, "is one of flow 'solo', not of 'counting'"),
    ):
        with pytest.raises(error, match=message):
            await aexecute_dynamic(slug, input, given, dsn=dsn, **options)
    assert value(conn, "select count(*) from pgflow.runs") == 1


async def test_a_dynamic_run_that_fails_or_takes_long_says_so(dsn: str, counting: str) -> None:
    functions: dict[str, Any] = {"split": split, "size": size, "total": lambda: 1 / 0}
    run_id = uuid4()
    for _ in range(2):  # the same call goes on, here: to the same end
        with pytest.raises(RunFailed, match="ZeroDivisionError") as caught:
            await aexecute_dynamic(counting, {"text": "a", "times": 1}, functions, run_id=run_id, dsn=dsn)
    assert caught.value.run_id == run_id
    held = {**functions, "split": lambda: threading.Event().wait(1.5)}
    with pytest.raises(RunTimeout):
        await aexecute_dynamic(counting, {"text": "a", "times": 1}, held, timeout=0.3, dsn=dsn)


def test_after_a_crash_the_same_call_goes_on(dsn: str, counting: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    run_id = str(uuid4())
    crashing = """
        import os, sys
        from pgflow import execute_dynamic

        functions = {"split": lambda input: ["once"], "size": lambda word: os._exit(9), "total": lambda count: 0}
        execute_dynamic("counting", {"text": "a b", "times": 1}, functions, run_id=sys.argv[2], dsn=sys.argv[1])
        """
    conn.execute("update pgflow.flows set opt_max_attempts = 3")
    with process(tmp_path, crashing, dsn, run_id) as crashed:
        crashed.communicate(timeout=60)
    assert crashed.returncode == 9
    conn.execute("update pgflow.step_tasks set leased_until = now() - interval '1 s' where status = 'started'")
    conn.execute("update pgflow.workers set stopped_at = now()")
    conn.execute("update pgmq.q_counting set vt = now()")
    functions = {"split": lambda: pytest.fail("it has completed"), "size": lambda word: len(word), "total": total}
    ignored = {"text": "another input", "times": 5}
    assert execute_dynamic(counting, ignored, functions, run_id=run_id, dsn=dsn, timeout=60) == {"total": 4}
    assert value(conn, "select count(*) from pgflow.runs") == 1
