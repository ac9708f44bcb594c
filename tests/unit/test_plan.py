"""Flow.check(): every fault of a flow, at once, with file, line and near misses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from inspect import currentframe
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from pgflow import Context, Flow, FlowSpec, StepSpec, needs
from pgflow.errors import FlowDefinitionError, PgflowError


class Page(BaseModel):
    url: str


class Sheet(BaseModel):
    url: str
    title: str = ""


@dataclass
class Card:
    url: str


class Row(TypedDict):
    url: str


class Colour(Enum):
    RED = "red"


class Unstorable:
    pass


def faults(flow: Flow[Any, Any]) -> tuple[str, ...]:
    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    return caught.value.faults


def fault(flow: Flow[Any, Any]) -> str:
    """The only fault of a flow."""
    (only,) = faults(flow)
    return only


def line() -> int:
    """The line that calls this."""
    frame = currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def at(number: int) -> str:
    return f"{Path(__file__).relative_to(Path.cwd())}:{number}: "


# ---------------------------------------------------------------------------------------- the report


@pytest.mark.parametrize("executor", ["process", "dask"])
def test_an_async_handler_cannot_run_in_an_executor(executor):
    async def handler() -> None: ...

    flow = Flow("f")
    step = flow.step(slug="a", executor=executor)(handler)
    assert fault(flow) == (
        f"{step.location}: step 'a': executor={executor!r} is for plain functions: "
        "an async handler runs on the event loop"
    )


@pytest.mark.parametrize("executor", ["process", "dask"])
def test_a_transactional_step_cannot_run_in_an_executor_and_needs_its_context(executor):
    flow = Flow("f")
    step = flow.step(slug="a", executor=executor, transactional=True)(lambda: 1)
    assert faults(flow) == (
        f"{step.location}: step 'a': transactional=True and executor={executor!r} exclude each other: a connection "
        "cannot go to a process",
        f"{step.location}: step 'a': a transactional step needs a parameter 'ctx': its connection is ctx.connection",
    )
    flow = Flow("f")
    flow.map(slug="a", transactional=True)(lambda n, ctx: 1)
    flow.check()


def test_a_fault_names_file_line_step_and_the_nearest_known_name():
    flow = Flow("f")

    @flow.step
    def fetch_subscribers(): ...

    number = line() + 2

    @flow.step
    def rank(fetch_subscriber): ...

    assert fault(flow) == at(number) + (
        "step 'rank': parameter 'fetch_subscriber' names no step of this flow: 'fetch_subscriber'; "
        "did you mean 'fetch_subscribers'?"
    )


@pytest.mark.parametrize(("given", "meant"), [("input", "flow_input"), ("flow_inptu", "flow_input"), ("contex", "ctx")])
def test_names_with_a_meaning_of_their_own_may_be_near(given: str, meant: str):
    flow = Flow("f")
    flow.step(slug="a")(eval(f"lambda {given}: 1"))  # noqa: S307  # the name is what is tested
    assert fault(flow).endswith(f"parameter {given!r} names no step of this flow: {given!r}; did you mean {meant!r}?")


def test_every_fault_is_reported_at_once():
    flow = Flow("my-flow")

    @flow.step
    def a(*args, unknown): ...

    @flow.step(slug="a")
    def a_again(misspelt): ...

    @flow.step
    def b(c): ...

    @flow.step
    def c(b): ...

    @flow.step(depends_on=["elsewhere"])
    def d() -> Iterator[int]:
        yield 1

    @flow.step
    def e() -> str: ...

    @flow.step
    def g(e: int): ...

    @flow.map
    def h(): ...

    found = "\n".join(faults(flow))
    for part in (
        "flow slug 'my-flow' is not valid",
        "step 'a': parameter '*args' is not allowed",
        "step 'a': parameter 'unknown' names no step",
        "step 'a': a step of this slug is defined at",
        "step 'a': parameter 'misspelt' names no step",
        "wait for each other: b → c → b",
        "step 'd': depends_on names no step of this flow: 'elsewhere'",
        "step 'd': a generator cannot be a handler",
        "step 'g': parameter 'e: int' cannot take what step 'e' returns (str)",
        "step 'h': a map handler needs a parameter",
    ):
        assert part in found


def test_the_exception_is_one_line_that_names_the_flow_and_holds_all_faults():
    flow = Flow("f")

    @flow.step
    def a(x, y): ...

    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    assert str(caught.value) == "flow 'f' is not well formed: " + "; ".join(caught.value.faults)
    assert "\n" not in str(caught.value)
    assert caught.value.flow_slug == "f"
    assert len(caught.value.faults) == 2
    assert isinstance(caught.value, PgflowError)


@pytest.mark.parametrize(
    "use", [Flow.check, Flow.shape, Flow.sql, Flow.mermaid, str, lambda flow: flow.steps, lambda f: f.encode_input({})]
)
def test_the_first_use_checks_the_flow(use: Callable[[Flow[Any, Any]], object]):
    flow = Flow("f")

    @flow.step
    def a(nothing): ...

    with pytest.raises(FlowDefinitionError, match="names no step"):
        use(flow)


def test_decorating_does_not_check_and_a_flow_can_be_mended():
    flow = Flow("f")

    @flow.step
    def second(first): ...

    assert "names no step" in fault(flow)

    @flow.step
    def first(): ...

    flow.check()
    assert list(flow.steps) == ["first", "second"]


def test_a_flow_without_steps_is_refused():
    assert fault(Flow("f")) == "it has no steps: decorate functions with @flow.step or @flow.map"


def test_a_fault_of_a_partial_or_a_callable_object_has_a_line_too():
    from functools import partial

    class Handler:
        def __call__(self, nothing): ...

    flow = Flow("f")
    flow.step(slug="a")(Handler())
    flow.step(slug="b")(partial(lambda nothing, more: None, more=1))
    assert all(f.startswith(str(Path(__file__).relative_to(Path.cwd()))) for f in faults(flow))


# ---------------------------------------------------------------------------------------- slugs


@pytest.mark.parametrize(
    ("slug", "reason"),
    [
        ("my-flow", "use letters"),
        ("1flow", "use letters"),
        ("", "use letters"),
        ("my flow", "use letters"),
        ("flow\n", "use letters"),
        ("flöw", "use letters"),
        ("flow٣", "use letters"),
        ("run", "the word is reserved"),
        ("f" * 48, "48 characters, at most 47"),
        (7, "use letters"),
    ],
)
def test_a_bad_flow_slug_is_a_fault(slug: Any, reason: str):
    flow = Flow(slug)
    flow.step(slug="a")(lambda: 1)
    assert f"flow slug {slug!r}" in fault(flow)
    assert reason in fault(flow)


@pytest.mark.parametrize("slug", ["f" * 47, "_", "A1", "Run", "running", "flow_input"])
def test_a_good_flow_slug_is_accepted(slug: str):
    flow = Flow(slug)
    flow.step(slug="a")(lambda: 1)
    flow.check()


@pytest.mark.parametrize("slug", ["a-b", "2a", "run", "s" * 129, "flow_input", "ctx", "deps", "<lambda>"])
def test_a_bad_step_slug_is_a_fault_with_its_line(slug: str):
    flow = Flow("f")
    number = line() + 1
    flow.step(slug=slug)(lambda: 1)
    assert fault(flow).startswith(at(number) + f"step {slug!r}: step slug {slug!r} is ")


@pytest.mark.parametrize("slug", ["s" * 128, "s" * 48, "_a", "RUN", "input"])
def test_a_good_step_slug_is_accepted(slug: str):
    flow = Flow("f")
    flow.step(slug=slug)(lambda: 1)
    flow.check()


def test_a_lambda_needs_a_slug():
    flow = Flow("f")
    flow.step(lambda: 1)
    assert "step slug '<lambda>' is not valid" in fault(flow)


def test_a_duplicate_step_names_where_the_first_one_is():
    flow = Flow("f")
    number = line() + 2

    @flow.step
    def a(): ...

    @flow.step(slug="a")
    def b(): ...

    assert fault(flow).endswith(f"a step of this slug is defined at {at(number)[:-2]} already")


# ---------------------------------------------------------------------------------------- edges


def test_an_unknown_step_is_reported_wherever_it_is_named():
    flow = Flow("f")

    @flow.step
    def scrape() -> list[str]: ...

    @flow.step(depends_on=["scrap"])
    def a(): ...

    @flow.map(over="scrappe")
    def b(page): ...

    @flow.step
    def c(scrapes): ...

    found = faults(flow)
    assert len(found) == 3
    assert all(f.endswith("; did you mean 'scrape'?") for f in found)


def test_no_near_miss_is_invented():
    flow = Flow("f")

    @flow.step
    def scrape(): ...

    @flow.step
    def a(zzz): ...

    assert "did you mean" not in fault(flow)


@pytest.mark.parametrize("same_slug", [True, False])
def test_a_step_of_another_flow_is_refused_wherever_it_is_named(same_slug: bool):
    other, flow = Flow("other"), Flow("f")
    foreign = other.step(slug="scrape")(lambda: [1])
    if same_slug:
        flow.step(slug="scrape")(lambda: [1])

    @flow.step
    def a(pages: Any = needs(foreign)): ...

    @flow.step(depends_on=[foreign])
    def b(): ...

    @flow.map(over=foreign)
    def c(page): ...

    if not same_slug:
        flow.step(slug="filler")(lambda: 1)
    found = faults(flow)
    assert len(found) == 3
    assert all("<single step other.scrape>, which belongs to another flow" in f for f in found)


@pytest.mark.parametrize(
    ("depends_on", "expected"),
    [
        ("scrape", "depends_on must be a list of steps or slugs, not 'scrape'"),
        (3, "depends_on must be a list of steps or slugs, not 3"),
        ([len], "depends_on takes steps or slugs, not <built-in function len>"),
        ([None], "depends_on takes steps or slugs, not None"),
    ],
)
def test_depends_on_takes_a_list_of_steps_and_slugs(depends_on: Any, expected: str):
    flow = Flow("f")
    flow.step(slug="a", depends_on=depends_on)(lambda: 1)
    assert fault(flow).endswith(f": step 'a': {expected}")


def test_over_takes_a_step_or_a_slug():
    flow = Flow("f")
    flow.map(slug="a", over=["scrape"])(lambda x: 1)  # type: ignore[call-overload]
    assert fault(flow).endswith(": step 'a': over takes steps or slugs, not ['scrape']")


def test_over_is_for_maps():
    flow = Flow("f")
    flow.step(slug="a", over="scrape")(lambda: 1)  # type: ignore[call-overload]
    assert fault(flow).endswith(": step 'a': over is for maps")


def test_a_cycle_is_drawn_along_its_edges():
    flow = Flow("f")

    @flow.step
    def a(c): ...

    @flow.step
    def b(a): ...

    @flow.step
    def c(b): ...

    @flow.step
    def behind(c): ...

    assert "the steps wait for each other: " in fault(flow)
    drawn = fault(flow).rpartition(": ")[2].split(" → ")
    assert drawn[0] == drawn[-1]
    assert set(pairwise(drawn)) == {("a", "b"), ("b", "c"), ("c", "a")}


def test_a_step_that_waits_for_itself_is_a_cycle():
    flow = Flow("f")

    @flow.step
    def a(a): ...

    assert fault(flow).endswith("the steps wait for each other: a → a")


def test_separate_cycles_are_all_reported():
    flow = Flow("f")

    @flow.step
    def a(b): ...

    @flow.step
    def b(a): ...

    @flow.step
    def c(c, b): ...

    assert [f.rpartition(": ")[2] for f in faults(flow)] == ["a → b → a", "c → c"]


def test_steps_are_ordered_topologically_and_else_as_written():
    flow = Flow("f")

    @flow.step
    def last(one, two): ...

    @flow.step
    def two(): ...

    @flow.step
    def one(): ...

    assert list(flow.steps) == ["two", "one", "last"]


def test_dependencies_are_those_of_over_parameters_needs_and_depends_on_once_each():
    flow = Flow("f")

    @flow.step
    def a() -> list[int]: ...

    @flow.step
    def b() -> str: ...

    @flow.step
    def c() -> str: ...

    @flow.map(over="a")
    def each(n: int) -> int: ...

    @flow.step(depends_on=["c", a])
    def join(b: str, numbers: list[int] = needs(each), again: Any = needs(b)): ...

    assert each.dependencies == ("a",)
    assert join.dependencies == ("b", "each", "c", "a")


def test_a_slug_is_what_parameters_bear():
    flow = Flow("f")

    @flow.step(slug="pages")
    def fetch_pages() -> list[str]: ...

    @flow.step
    def rank(pages: list[str]): ...

    assert rank.dependencies == ("pages",)
    assert list(flow.steps) == ["pages", "rank"]


# ---------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    ("handler", "name"),
    [(lambda *args: 1, "'*args'"), (lambda **kwargs: 1, "'**kwargs'"), (lambda flow_input, /: 1, "'flow_input'")],
)
def test_arguments_that_cannot_be_passed_by_name_are_refused(handler: Callable[..., Any], name: str):
    flow = Flow("f")
    flow.step(slug="a")(handler)
    assert f"parameter {name} is not allowed" in fault(flow)


def test_keyword_only_parameters_are_fine():
    flow = Flow("f")

    @flow.step
    def a(*, flow_input, ctx, deps): ...

    flow.check()


def test_generators_are_refused():
    flow = Flow("f")

    @flow.step
    def a() -> Iterator[int]:
        yield 1

    @flow.step
    async def b() -> AsyncIterator[int]:
        yield 1

    assert [f.partition(": ")[2] for f in faults(flow)] == [
        f"step {slug!r}: a generator cannot be a handler: return a list instead" for slug in "ab"
    ]


@pytest.mark.parametrize("annotation", ["nowhere.Model", "int list", "Path.nothing", "NotThere"])
def test_an_annotation_that_cannot_be_read_is_a_fault(annotation: str):
    flow = Flow("f")

    def a(flow_input): ...

    a.__annotations__["flow_input"] = annotation
    flow.step(a)
    assert "an annotation" in fault(flow)


def test_annotations_may_name_what_surrounds_the_handler():
    class Local(BaseModel):
        n: int

    flow = Flow("f")

    @flow.step
    def a(flow_input: Local) -> int:
        return Local(n=flow_input.n).n + later()

    flow.check()
    later = int
    assert a.binding.arguments(b"{}", b'{"n": 1}', Context())["flow_input"] == Local(n=1)


def test_every_annotation_that_has_no_json_form_is_a_fault():
    flow = Flow("f")

    @flow.step
    def a() -> Unstorable: ...

    @flow.step
    def b(flow_input: Unstorable, a: Unstorable): ...

    @flow.step
    def c(a: int): ...

    found = [f.partition(": ")[2].partition(" cannot")[0] for f in faults(flow)]
    assert found == [
        "step 'a': the result: Unstorable",
        "step 'b': parameter 'flow_input': Unstorable",
        "step 'b': parameter 'a': Unstorable",
    ]


def test_a_builtin_without_a_signature_is_a_fault():
    flow = Flow("f")
    flow.step(slug="a")(dict)
    assert "its parameters cannot be read" in fault(flow)


# ---------------------------------------------------------------------------------------- maps


def test_a_map_over_two_dependencies_is_refused():
    flow = Flow("f")
    flow.step(slug="a")(lambda: [1])
    flow.step(slug="b")(lambda: [1])

    @flow.map(over="a", depends_on=["b"])
    def m(x): ...

    assert fault(flow).endswith('Map step "m" can have at most one dependency, but 2 were provided: a, b')


def test_a_map_names_its_step_by_over_only():
    flow = Flow("f")
    flow.step(slug="a")(lambda: [1])

    @flow.map(depends_on=["a"])
    def m(x): ...

    assert "name it by over=" in fault(flow)


def test_a_map_handler_gets_no_outputs():
    flow = Flow("f")
    a = flow.step(slug="a")(lambda: [1])

    @flow.map(over=a)
    def by_name(x, a): ...

    @flow.map(over=a)
    def by_needs(x, y=needs(a)): ...

    @flow.map(over=a)
    def by_deps(x, deps): ...

    @flow.map
    def by_default(x, factor=2): ...

    names = [f.partition("parameter ")[2].partition(" is not allowed: a map's handler gets")[0] for f in faults(flow)]
    assert names == ["'a'", "'y'", "'deps'", "'factor'"]


def test_an_element_that_bears_the_name_of_a_step_is_refused():
    flow = Flow("f")
    flow.step(slug="page")(lambda: [1])

    @flow.map
    def m(page): ...

    assert "parameter 'page' is the element, but bears the name of a step" in fault(flow)
    assert "@flow.map(over=page)" in fault(flow)


def test_an_element_may_bear_the_name_of_its_own_step():
    flow = Flow("f")

    @flow.map
    def page(page): ...

    flow.check()
    assert page.dependencies == ()


def test_a_map_handler_needs_a_parameter_for_its_element():
    flow = Flow("f")

    @flow.map
    def m(ctx, flow_input, context: Context): ...

    assert fault(flow).endswith("a map handler needs a parameter for its element")


def test_a_map_of_n_tasks_may_ignore_its_element():
    flow = Flow("f")

    @flow.map(initial_tasks=3)
    def m(): ...

    flow.check()


@pytest.mark.parametrize(
    "returned", [int, str, dict, dict[str, int], Page, Card, Row, datetime, None, bool, int | None]
)
def test_a_map_over_a_step_that_returns_no_list_is_refused(returned: Any):
    flow = Flow("f")

    def a(): ...

    a.__annotations__["return"] = returned
    flow.step(a)
    flow.map(over="a", slug="m")(lambda x: 1)
    assert "step 'm': it maps over step 'a', which returns no list (" in fault(flow)


@pytest.mark.parametrize(
    "returned", [list, list[int], tuple[int, ...], set[int], range, Any, list[int] | None, object, "list[Page]"]
)
def test_a_map_over_a_step_that_may_return_a_list_is_accepted(returned: Any):
    flow = Flow("f")

    def a(): ...

    a.__annotations__["return"] = returned
    flow.step(a)
    flow.map(over="a", slug="m")(lambda x: 1)
    flow.check()


def test_a_map_over_a_map_is_accepted_whatever_the_first_one_returns():
    flow = Flow("f")

    @flow.map
    def a(x: str) -> int: ...

    @flow.map(over=a)
    def b(x: int) -> str: ...

    flow.check()


def test_elements_that_cannot_fit_are_refused():
    flow = Flow("f")

    @flow.step
    def a() -> list[str]: ...

    @flow.map(over=a)
    def b(x: int) -> int: ...

    @flow.map(over=b)
    def c(x: str): ...

    assert [f.partition(": ")[2] for f in faults(flow)] == [
        "step 'b': parameter 'x: int' cannot take the elements of step 'a' (list[str])",
        "step 'c': parameter 'x: str' cannot take the elements of step 'b' (list[int])",
    ]


# ---------------------------------------------------------------------------------------- types along edges


def edge(returned: Any, taken: Any, *, by_map: bool = False) -> Flow[Any, Any]:
    flow = Flow("f")

    def b(a): ...

    b.__annotations__["a"] = taken
    if by_map:

        def a(x): ...
    else:

        def a(): ...

    a.__annotations__["return"] = returned
    (flow.map if by_map else flow.step)(a)
    flow.step(b)
    return flow


@pytest.mark.parametrize(
    ("returned", "taken"),
    [
        (str, int),
        (int, str),
        (bool, int),
        (None, int),
        (dict, list),
        (list[int], Page),
        (Page, str),
        (Page, list[Page]),
        (datetime, int),
        (UUID, float),
        (Colour, int),
        (int | None, str),
        (bytes, dict[str, Any]),
        (Decimal, bool),
    ],
)
def test_an_edge_whose_json_types_cannot_overlap_is_refused(returned: Any, taken: Any):
    found = fault(edge(returned, taken))
    assert "step 'b': parameter 'a: " in found
    assert "cannot take what step 'a' returns (" in found


@pytest.mark.parametrize(
    ("returned", "taken"),
    [
        (int, float),
        (float, int),
        (int | None, int),
        (str, int | str),
        (Page, Sheet),
        (Page, Card),
        (Card, Row),
        (Page, dict),
        (Row, dict[str, Any]),
        (datetime, str),
        (str, datetime),
        (UUID, str),
        (Decimal, str),
        (Decimal, Decimal),
        (int, Decimal),
        (Colour, str),
        (bytes, str),
        (list[int], set[int]),
        (range, list[int]),
        (tuple[int, str], list),
        (Any, int),
        (int, Any),
        (object, str),
    ],
)
def test_an_edge_whose_json_types_may_overlap_is_accepted(returned: Any, taken: Any):
    edge(returned, taken).check()


def test_the_output_of_a_map_is_a_list():
    edge(int, list[int], by_map=True).check()
    assert fault(edge(int, int, by_map=True)).endswith(
        "parameter 'a: int' cannot take what step 'a' returns (list[int])"
    )


def test_what_is_not_annotated_is_not_checked():
    flow = Flow("f")

    @flow.step
    def a(): ...

    @flow.step
    def b(a: int): ...

    @flow.step
    def c(b, deps, ctx): ...

    flow.check()


# ---------------------------------------------------------------------------------------- may be skipped


def skippable(**options: Any) -> tuple[Flow[Any, Any], Any]:
    flow = Flow("f")
    return flow, flow.step(slug="a", **options)(lambda: 1)


MAY_BE_SKIPPED = [
    {"run_if": {"x": 1}},
    {"run_unless": {"x": 1}},
    {"when_exhausted": "skip"},
    {"run_if": {"x": 1}, "when_unmet": "skip-cascade", "when_exhausted": "skip"},
    {"run_if": {}},
]
NEVER_SKIPPED_ALONE = [
    {},
    {"when_unmet": "skip"},
    {"when_exhausted": "skip-cascade"},
    {"when_exhausted": "fail"},
    {"run_if": {"x": 1}, "when_unmet": "skip-cascade"},
    {"run_unless": {"x": 1}, "when_unmet": "fail"},
]


@pytest.mark.parametrize("options", MAY_BE_SKIPPED)
def test_a_dependency_that_may_be_skipped_needs_a_default(options: dict[str, Any]):
    flow, a = skippable(**options)

    @flow.step
    def b(a): ...

    @flow.step
    def c(x=needs(a)): ...

    assert [f.partition(": ")[2].partition(" (or")[0] for f in faults(flow)] == [
        "step 'b': parameter 'a' needs a default: step 'a' may be skipped",
        "step 'c': parameter 'x' needs a default: step 'a' may be skipped",
    ]


@pytest.mark.parametrize("options", MAY_BE_SKIPPED)
def test_a_default_admits_a_dependency_that_may_be_skipped(options: dict[str, Any]):
    flow, a = skippable(**options)

    @flow.step
    def b(a=None): ...

    @flow.step
    def c(x=needs(a, default=None)): ...

    @flow.step
    def d(deps): ...

    @flow.step(depends_on=[a])
    def e(): ...

    flow.check()


@pytest.mark.parametrize("options", NEVER_SKIPPED_ALONE)
def test_a_dependency_that_is_never_skipped_alone_needs_no_default(options: dict[str, Any]):
    flow, a = skippable(**options)

    @flow.step
    def b(a): ...

    @flow.step
    def c(x=needs(a)): ...

    flow.check()


def test_a_map_over_a_step_that_may_be_skipped_is_accepted():
    flow, a = skippable(when_exhausted="skip")

    @flow.map(over=a)
    def b(x): ...

    flow.check()


def test_the_default_of_an_edge_is_no_marker():
    flow, a = skippable(run_if={"x": 1})

    @flow.step
    def b(x: int | None = needs(a, default=None)): ...

    assert b.binding.arguments(b"{}", None, Context()) == {"x": None}


# ---------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize("option", ["run_if", "run_unless"])
def test_a_condition_names_dependencies_only(option: str):
    flow = Flow("f")

    @flow.step
    def classify(): ...

    @flow.step
    def other(): ...

    number = line() + 2

    @flow.step(**{option: {"clasify": {"spam": True}, "other": 1, "classify": {}}})
    def publish(classify): ...

    @flow.map(over="classify", **{option: {"clasify": []}})
    def each(x): ...

    assert faults(flow) == (
        f"{at(number)}step 'publish': {option}.clasify: no dependency of this step; did you mean 'classify'?",
        f"{at(number)}step 'publish': {option}.other: no dependency of this step",
        f"{at(number + 3)}step 'each': {option}.clasify: no dependency of this step; did you mean 'classify'?",
    )


def test_a_condition_counts_dependencies_however_they_are_named():
    flow = Flow("f")
    _a, b, c = (flow.step(slug=slug)(lambda: 1) for slug in "abc")

    @flow.step(depends_on=[c], run_if={"a": 1, "c": {}}, run_unless={"b": None}, when_unmet="fail")
    def d(a, x=needs(b)): ...

    flow.check()


def test_the_condition_of_a_root_step_is_judged_on_the_runs_input():
    flow = Flow("f")

    @flow.step(run_if={"anything": 1})
    def a(): ...

    @flow.map(run_unless={"b": 1})
    def b(x): ...

    flow.check()


def test_the_condition_of_a_step_whose_dependency_is_misspelt_is_judged_too():
    flow = Flow("f")

    @flow.step
    def classify(): ...

    @flow.step(run_if={"x": 1})
    def publish(clasify): ...

    names, condition = faults(flow)
    assert names.endswith("names no step of this flow: 'clasify'; did you mean 'classify'?")
    assert condition.endswith("run_if.x: no dependency of this step")


def test_a_flow_that_others_stored_by_other_rules_is_served_as_it_is():
    odd = StepSpec.model_construct(slug="b", depends_on=("a",), run_if={"z": 1})
    flow = Flow.of(
        FlowSpec.model_construct(slug="f", steps=(StepSpec(slug="a"), odd)), {"a": lambda: 1, "b": lambda: 2}
    )
    assert flow.steps["b"].options.run_if == {"z": 1}
