"""run_inline: flows run in memory as the database would run them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from pgflow import Context, Flow, Permanent, RetryAfter, Run, RunFailed
from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.testing import InlineRun, run_inline


def statuses(run: Run) -> dict[str, str]:
    return {slug: step.status for slug, step in run.steps.items()}


def fails_first(times: int, error: Exception) -> Callable[[], str]:
    """A handler that raises so many times, then returns 'done'."""
    left = [error] * times

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    return work


# ---------------------------------------------------------------------------------------- steps and values


def test_a_chain_of_steps_hands_outputs_on() -> None:
    flow = Flow("chain")

    @flow.step
    def double(flow_input: dict) -> int:
        return 2 * flow_input["n"]

    @flow.step
    async def report(double: int) -> str:
        return f"twice is {double}"

    run = run_inline(flow, {"n": 21})
    assert run.status == "completed"
    assert run.output == {"report": "twice is 42"}
    assert run.steps["double"].output == 42
    assert run.remaining_steps == 0


def test_the_run_is_a_run() -> None:
    run = run_inline(one_step(lambda: 1), {"a": 1})
    assert isinstance(run, Run)
    assert (run.flow_slug, run.input, run.ended) == ("one", {"a": 1}, True)
    assert run.completed_at is not None


def one_step(fn: Callable[..., Any], **options: Any) -> Flow:
    flow = Flow("one")
    flow.step(slug="work", **options)(fn)
    return flow


class Mail(BaseModel):
    to: str


def test_values_pass_through_json_and_annotations() -> None:
    flow = Flow("typed")

    @flow.step
    def write(flow_input: Mail) -> list[Mail]:
        return [flow_input, Mail(to="b")]

    @flow.map(over=write)
    def send(mail: Mail) -> tuple[str, int]:
        return mail.to, 1

    assert run_inline(flow, {"to": "a"}).output == {"send": [["a", 1], ["b", 1]]}


def test_bytes_are_bytes_on_both_ends_of_an_edge_and_base64_text_outside() -> None:
    flow = Flow("binary")

    @flow.step
    def flip(flow_input: bytes) -> bytes:
        return flow_input[::-1]

    @flow.step
    def cut(flip: bytes) -> list[bytes]:
        return [flip[:2], flip[2:]]

    @flow.map(over=cut)
    def size(piece: bytes, flow_input: bytes) -> list[int]:
        return [len(piece), len(flow_input)]

    @flow.step
    def kept(flip: bytes, size: list[list[int]], deps: dict[str, Any]) -> tuple[bytes, list[list[int]], str]:
        return flip, size, deps["flip"]

    run = run_inline(flow, b"GNP\x89\x00\xff")
    assert run.output == {"kept": ["_wCJUE5H", [[2, 6], [4, 6]], "_wCJUE5H"]}
    assert base64.urlsafe_b64decode(run.input) == b"GNP\x89\x00\xff"


@pytest.mark.parametrize("falsy", [0, "", False, [], None])
def test_falsy_outputs_stay_what_they_are(falsy: Any) -> None:
    run = run_inline(one_step(lambda: falsy), {})
    assert run.output == {"work": falsy}
    assert type(run.output["work"]) is type(falsy)


def test_the_context_says_which_task_it_is() -> None:
    flow = Flow("context", max_attempts=2, timeout=7)
    seen: list[Context] = []

    @flow.map
    async def work(element: int, ctx: Context) -> Any:
        seen.append(ctx)
        return [await ctx.load_input(), ctx.resources["db"]]

    run = run_inline(flow, [10, 20], resources={"db": "pool"})
    assert run.output == {"work": [[[10, 20], "pool"], [[10, 20], "pool"]]}
    assert [(c.step_slug, c.task_index, c.attempt, c.max_attempts) for c in seen] == [
        ("work", 0, 1, 2),
        ("work", 1, 1, 2),
    ]
    assert {c.run_id for c in seen} == {run.run_id}


def test_a_dependent_step_that_asks_for_it_gets_the_flows_input() -> None:
    flow = Flow("late_input")

    @flow.step
    def first() -> int:
        return 1

    @flow.step
    def second(first: int, flow_input: dict) -> int:
        return first + flow_input["n"]

    assert run_inline(flow, {"n": 2}).output == {"second": 3}


# ---------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("elements", [[], ["a"], ["a", None, "c"]])
def test_a_map_runs_once_per_element_and_gathers_in_order(elements: list[Any]) -> None:
    flow = Flow("maps")

    @flow.map
    def echo(element: Any) -> Any:
        return element

    @flow.map(over=echo)
    def again(element: Any) -> Any:
        return [element]

    @flow.step
    def count(again: list) -> int:
        return len(again)

    run = run_inline(flow, elements)
    assert run.steps["again"].output == [[e] for e in elements]
    assert run.output == {"count": len(elements)}
    assert run.attempts["echo"] == (1,) * len(elements)


def test_a_long_chain_of_empty_maps_completes() -> None:
    flow = Flow("chain")
    flow.map(slug="m0")(lambda element: element)
    for n in range(1, 60):
        flow.map(slug=f"m{n}", over=f"m{n - 1}")(lambda element: element)
    assert run_inline(flow, []).output == {"m59": []}


def test_initial_tasks_make_as_many_tasks_with_their_index() -> None:
    flow = Flow("counted")

    @flow.map(initial_tasks=3)
    def square(n: int) -> int:
        return n * n

    assert run_inline(flow, {}).output == {"square": [0, 1, 4]}


def test_another_length_than_expected_fails_the_step() -> None:
    flow = Flow("expected")

    @flow.step
    def make() -> list[int]:
        return [1]

    @flow.map(over=make, initial_tasks=3)
    def take(n: int) -> int:
        return n

    run = run_inline(flow, {})
    assert run.error == 'Map step "take" expected 3 elements, got 1'
    assert statuses(run) == {"make": "completed", "take": "failed"}


def test_what_is_no_list_for_a_map_fails_the_run_without_a_retry() -> None:
    flow = Flow("violation")

    @flow.step(when_exhausted="skip-cascade")
    def make() -> Any:
        return {"no": "list"}

    @flow.map(over=make)
    def take(element: Any) -> Any:
        return element

    run = run_inline(flow, {})
    assert run.error == "[TYPE_VIOLATION] Map step take expects array input but dependency make produced object"
    assert statuses(run) == {"make": "failed", "take": "created"}
    assert run.attempts["make"] == (1,)
    assert run.failed_task is not None
    assert run.failed_task.error_message == "[TYPE_VIOLATION] Produced object instead of array"


# ---------------------------------------------------------------------------------------- conditions and skips


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ({"run_if": {"vip": True}}, True),
        ({"run_if": {"vip": 1}}, False),
        ({"run_if": {"tags": ["b"]}}, True),
        ({"run_if": {"tags": []}}, True),
        ({"run_if": {"tags": "b"}}, False),
        ({"run_if": {"deep": {"x": {}}}}, True),
        ({"run_if": {"deep": {"y": 1}}}, False),
        ({"run_unless": {"vip": True}}, False),
        ({"run_unless": {"vip": False}}, True),
        ({"run_if": {"vip": True}, "run_unless": {"tags": ["a"]}}, False),
    ],
)
def test_a_root_steps_condition_is_judged_on_the_input(condition: dict[str, Any], is_met: bool) -> None:
    run = run_inline(one_step(lambda: 1, **condition), {"vip": True, "tags": ["a", "b"], "deep": {"x": {"z": 0}}})
    assert run.status == "completed"
    assert run.output == ({"work": 1} if is_met else None)
    assert run.steps["work"].skip_reason == (None if is_met else "condition_unmet")


def conditional(when_unmet: str) -> Flow:
    """a → b (only if a returned 'go') → c."""
    flow = Flow("conditional")

    @flow.step
    def a(flow_input: str) -> str:
        return flow_input

    @flow.step(run_if={"a": "go"}, when_unmet=when_unmet, depends_on=["a"])
    def b() -> str:
        return "b"

    @flow.step
    def c(b: str = "without b") -> str:
        return b

    return flow


@pytest.mark.parametrize(
    ("when_unmet", "status", "b", "c"),
    [
        ("skip", "completed", "skipped", "completed"),
        ("skip-cascade", "completed", "skipped", "skipped"),
        ("fail", "failed", "failed", "created"),
    ],
)
def test_an_unmet_condition_goes_the_way_of_when_unmet(when_unmet: str, status: str, b: str, c: str) -> None:
    run = run_inline(conditional(when_unmet), "stop")
    assert run.status == status
    assert statuses(run) == {"a": "completed", "b": b, "c": c}


def test_a_met_condition_lets_the_step_run() -> None:
    assert run_inline(conditional("fail"), "go").output == {"c": "b"}


def test_a_skipped_dependency_leaves_a_parameter_to_its_default() -> None:
    assert run_inline(conditional("skip"), "stop").output == {"c": "without b"}


def test_a_skip_cascades_over_everything_behind_and_nothing_else() -> None:
    flow = Flow("cascade")

    @flow.step(run_if={"never": True}, when_unmet="skip-cascade")
    def a() -> int:
        return 1

    @flow.step
    def b() -> int:
        return 2

    @flow.step
    def c(a: int, b: int) -> list[int]:
        return [a, b]

    @flow.map(over=c)
    def d(element: Any) -> Any:
        return element

    run = run_inline(flow, {})
    assert run.output is None  # b completed, but is no last step
    assert {slug: step.skip_reason for slug, step in run.steps.items()} == {
        "a": "condition_unmet", "b": None, "c": "dependency_skipped", "d": "dependency_skipped",
    }  # fmt: skip


def test_a_map_over_a_skipped_step_has_no_elements() -> None:
    flow = Flow("over_skipped")

    @flow.step(run_if={"never": True})
    def make() -> list[int]:
        return [1]

    @flow.map(over=make)
    def take(n: int) -> int:
        return n

    assert run_inline(flow, {}).output == {"take": []}


# ---------------------------------------------------------------------------------------- failure and retries


def test_a_failing_handler_is_tried_again_without_waiting() -> None:
    run = run_inline(one_step(fails_first(2, OSError("away")), max_attempts=3, base_delay=1000), {})
    assert run.output == {"work": "done"}
    assert run.attempts["work"] == (3,)
    assert run.waited == 2000 + 4000


@pytest.mark.parametrize(("max_attempts", "tries"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_attempts_end_at_max_attempts(max_attempts: int, tries: int) -> None:
    run = run_inline(one_step(fails_first(99, OSError("away")), max_attempts=max_attempts), {})
    assert (run.status, run.output, run.error) == ("failed", None, "OSError: away")
    assert run.failed_task is not None
    assert (run.failed_task.step_slug, run.failed_task.attempt) == ("work", tries)


def test_permanent_is_not_tried_again() -> None:
    run = run_inline(one_step(fails_first(1, Permanent("no such user")), max_attempts=5), {})
    assert run.error == "Permanent: no such user"
    assert run.attempts["work"] == (1,)


def test_retry_after_says_when() -> None:
    run = run_inline(one_step(fails_first(1, RetryAfter(90)), base_delay=1), {})
    assert run.output == {"work": "done"}
    assert run.waited == 90


def test_the_options_of_retries_are_heeded() -> None:
    waits = run_inline(one_step(fails_first(2, OSError()), max_attempts=3, base_delay=1000, max_delay=3000), {})
    assert waits.waited == 2000 + 3000
    varied = run_inline(one_step(fails_first(1, OSError()), base_delay=1000, jitter=0.5), {})
    assert 1000 <= varied.waited <= 2000
    final = run_inline(one_step(fails_first(1, OSError("away")), no_retry_on=OSError, max_attempts=3), {})
    assert (final.error, final.attempts["work"]) == ("OSError: away", (1,))
    assert run_inline(one_step(fails_first(1, OSError()), retry_on=ConnectionError), {}).status == "failed"
    assert run_inline(one_step(fails_first(1, RetryAfter(9)), retry_on=(), max_delay=1), {}).waited == 9


def test_a_start_delay_is_passed_over() -> None:
    assert run_inline(one_step(lambda: 1, start_delay=3600), {}).waited == 3600


@pytest.mark.parametrize(
    ("when_exhausted", "status", "broken", "after"),
    [
        ("fail", "failed", "failed", "created"),
        ("skip", "completed", "skipped", "completed"),
        ("skip-cascade", "completed", "skipped", "skipped"),
    ],
)
def test_used_up_attempts_go_the_way_of_when_exhausted(
    when_exhausted: str, status: str, broken: str, after: str
) -> None:
    flow = Flow("exhausted", max_attempts=1)

    @flow.map(when_exhausted=when_exhausted)
    def work(element: int) -> float:
        return 1 / element

    @flow.step
    def behind(work: list | None = None) -> Any:
        return work

    run = run_inline(flow, [1, 0, 2])
    assert run.status == status
    assert statuses(run) == {"work": broken, "behind": after}
    assert run.steps["work"].error_message == "ZeroDivisionError: division by zero"
    assert run.attempts["work"] == (1, 1, 0)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), InvalidInputError("x"), StopIteration()])
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_a_handler_raises_fails_its_task(error: BaseException, is_async: bool) -> None:
    def work() -> None:
        raise error

    async def awork() -> None:
        raise error

    run = run_inline(one_step(awork if is_async else work, max_attempts=2), {})
    assert run.status == "failed"
    assert run.attempts["work"] == (2,)


def test_ctrl_c_gets_out() -> None:
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_inline(one_step(work), {})


def test_a_value_that_does_not_fit_fails_for_good() -> None:
    def work(flow_input: int) -> int:
        return flow_input

    run = run_inline(one_step(work, max_attempts=5), "no number")
    assert run.attempts["work"] == (1,)
    assert run.error is not None
    assert "flow_input" in run.error


def test_an_output_that_is_no_json_fails_for_good() -> None:
    run = run_inline(one_step(object, max_attempts=5), {})
    assert run.attempts["work"] == (1,)
    assert run.error is not None
    assert "not JSON" in run.error


def test_the_result_of_a_failed_run_raises_with_the_handlers_error() -> None:
    run = run_inline(one_step(fails_first(9, OSError("away")), max_attempts=2), {})
    with pytest.raises(RunFailed, match=r"in step 'work' \(task 0, attempt 2\): OSError: away"):
        _ = run.result


def test_the_result_of_a_completed_run_is_its_output() -> None:
    assert run_inline(one_step(lambda: 1), {}).result == {"work": 1}


# ---------------------------------------------------------------------------------------- the caller


def test_an_input_that_cannot_start_a_run_is_refused() -> None:
    flow = Flow("root_map")
    flow.map(slug="work")(lambda element: element)
    with pytest.raises(InvalidInputError, match="must be a list"):
        run_inline(flow, {})


def test_a_flow_that_is_not_well_formed_is_refused() -> None:
    with pytest.raises(FlowDefinitionError, match="no steps"):
        run_inline(Flow("empty"), {})
    with pytest.raises(InvalidInputError, match=r"expected a pgflow.Flow, not 'empty'"):
        run_inline("empty", {})


async def test_it_works_where_an_event_loop_runs() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert run_inline(one_step(work), {}).output == {"work": "done"}


def test_async_handlers_of_a_run_share_one_loop() -> None:
    flow = Flow("loops")
    loops = []

    @flow.map
    async def work(element: int) -> None:
        loops.append(asyncio.get_running_loop())

    run_inline(flow, [1, 2, 3])
    assert len(loops) == 3
    assert len(set(loops)) == 1


def test_plain_handlers_run_in_the_callers_thread_without_a_loop() -> None:
    def work() -> str:
        return asyncio.run(asyncio.sleep(0, "done"))

    assert run_inline(one_step(work), {}).output == {"work": "done"}


def test_a_run_leaves_nothing_behind_for_the_next() -> None:
    flow = one_step(lambda: 1)
    first, second = run_inline(flow, {}), run_inline(flow, {})
    assert first.run_id != second.run_id
    assert isinstance(second, InlineRun)
    assert second.output == first.output


# ---------------------------------------------------------------------------------------- transactional steps


def bank(*, is_async: bool, result: Any = "done") -> Flow[Any, Any]:
    """Two attempts, each of which notes itself; the first raises."""
    flow = Flow("bank")
    note = "insert into notes values (%s)"

    def outcome(ctx: Context) -> Any:
        if ctx.attempt == 1:
            raise RuntimeError("at first")
        return result

    async def on_loop(ctx: Context) -> Any:
        await ctx.connection.execute(note, [ctx.attempt])
        return outcome(ctx)

    def plain(ctx: Context) -> Any:
        ctx.connection.execute(note, [ctx.attempt])
        return outcome(ctx)

    flow.step(slug="only", transactional=True)(on_loop if is_async else plain)
    return flow


@pytest.fixture
def notes(conn: psycopg.Connection) -> psycopg.Connection:
    conn.execute("create table notes (attempt int)")
    return conn


def test_a_transactional_step_works_on_the_connection_it_is_given(notes: psycopg.Connection):
    with notes.transaction(force_rollback=True):
        run = run_inline(bank(is_async=False), None, connection=notes)
        assert run.result == {"only": "done"}
        assert notes.execute("select attempt from notes").fetchall() == [(2,)]
    assert notes.execute("select attempt from notes").fetchall() == []


async def test_an_async_transactional_step_too(dsn: str, notes: psycopg.Connection):
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        run = run_inline(bank(is_async=True), None, connection=connection)
    assert run.result == {"only": "done"}
    assert notes.execute("select attempt from notes").fetchall() == [(2,)]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_result_that_is_none_takes_its_effect_along(dsn: str, notes: psycopg.Connection, is_async: bool):
    flow = bank(is_async=is_async, result=object())
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        run = run_inline(flow, None, connection=connection if is_async else notes)
    assert run.error is not None
    assert run.error.startswith("InvalidInputError: the handler's result: ")
    assert run.attempts == {"only": (2,)}
    assert notes.execute("select attempt from notes").fetchall() == []


def test_no_list_where_a_map_needs_one_fails_as_in_the_database(notes: psycopg.Connection):
    flow = bank(is_async=False, result={"no": "list"})
    flow.map(slug="each", over="only")(lambda n: n)
    run = run_inline(flow, None, connection=notes)
    assert run.error == "InvalidInputError: the handler's result: step 'each' maps over it, so it must be a list"
    assert notes.execute("select attempt from notes").fetchall() == []


@pytest.mark.parametrize(("is_async", "wanted"), [(True, "AsyncConnection"), (False, "Connection")])
def test_without_a_connection_of_its_kind_a_transactional_step_is_refused(
    notes: psycopg.Connection, is_async: bool, wanted: str
):
    message = rf"step 'only' is transactional: give run_inline a connection= for it, a psycopg\.{wanted}$"
    for connection in (None, notes) if is_async else (None,):
        with pytest.raises(ValueError, match=message):
            run_inline(bank(is_async=is_async), None, connection=connection)


def test_other_steps_have_no_connection(notes: psycopg.Connection):
    flow = Flow("f", max_attempts=1)
    flow.step(slug="only")(lambda ctx: ctx.connection)
    error = "RuntimeError: step 'only' has no connection: declare the step with transactional=True"
    assert run_inline(flow, None, connection=notes).error == error
