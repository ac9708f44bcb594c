"""Binding: a claimed task's JSON becomes the handler's arguments, its result the task's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from pgflow import Context, Flow, Step, needs
from pgflow.errors import InvalidInputError
from pgflow.flow.codec import encode as json_text

CTX = Context(step_slug="here")


class Page(BaseModel):
    url: str


@dataclass
class Visit:
    day: date


def flow_with(**steps: Callable[..., Any]) -> Flow[Any, Any]:
    flow = Flow("f")
    for slug, handler in steps.items():
        flow.step(slug=slug)(handler)
    return flow


def arguments(step: Step[..., Any], raw: bytes, flow_input: bytes | None = None) -> dict[str, Any]:
    return step.binding.arguments(raw, flow_input, CTX)


def test_each_role_gets_its_value():
    flow = flow_with(a=lambda: 1)

    @flow.step
    def b(flow_input: Page, ctx, deps, a: int): ...

    assert arguments(b, b'{"a":7}', b'{"url":"x"}') == {
        "flow_input": Page(url="x"),
        "ctx": CTX,
        "deps": {"a": 7},
        "a": 7,
    }


def test_what_a_partial_gives_by_name_is_no_dependency():
    flow = flow_with(page=lambda: 1)

    def scaled(page: int, factor: int, offset: int) -> int:
        return page * factor + offset

    step = flow.step(partial(scaled, factor=10, offset=needs(flow.steps["page"])))
    assert (step.slug, step.dependencies) == ("scaled", ("page",))
    assert step(**arguments(step, b'{"page":7}')) == 77


def test_a_context_may_bear_any_name_if_annotated():
    flow = Flow("f")

    @flow.step
    def a(context: Context, ctx): ...

    assert a.dependencies == ()
    assert arguments(a, b"{}") == {"context": CTX, "ctx": CTX}


def test_a_context_may_be_optional_for_those_who_call_the_handler_themselves():
    flow = Flow("f")

    @flow.step
    def a(one: Context | None, two: Optional[Context] = None, ctx: Context | None = None): ...  # noqa: UP045

    @flow.map
    def m(here: Context | None, x: int): ...

    assert a.dependencies == m.dependencies == ()
    assert arguments(a, b"{}") == {"one": CTX, "two": CTX, "ctx": CTX}
    assert arguments(m, b"7") == {"here": CTX, "x": 7}


def test_what_is_not_annotated_gets_plain_json_types():
    flow = flow_with(a=lambda: 1)

    @flow.step
    def b(flow_input, a): ...

    assert arguments(b, b'{"a":["2026-01-02",1.5,null]}', b'{"x":[]}') == {
        "flow_input": {"x": []},
        "a": ["2026-01-02", 1.5, None],
    }


def test_outputs_are_converted_to_their_annotations():
    flow = flow_with(a=lambda: 1, b=lambda: 1)

    @flow.step
    def c(a: list[Visit], pages: dict[str, Page] = needs(flow.steps["b"])): ...

    assert arguments(c, b'{"a":[{"day":"2026-01-02"}],"b":{"x":{"url":"u"}},"other":1}') == {
        "a": [Visit(date(2026, 1, 2))],
        "pages": {"x": Page(url="u")},
    }


def test_one_output_may_feed_several_parameters_each_with_its_own_annotation():
    flow = flow_with(a=lambda: 1)

    @flow.step
    def b(a: dict[str, Any], page: Page = needs(flow.steps["a"])): ...

    assert arguments(b, b'{"a":{"url":"x"}}') == {"a": {"url": "x"}, "page": Page(url="x")}


def test_steps_may_have_names_that_mean_something_elsewhere():
    names = ["_a", "class_", "copy", "self", "model_config", "json", "items"]
    flow = flow_with(**dict.fromkeys(names, lambda: 1))

    @flow.step
    def b(_a, class_, copy, self, model_config, json, items): ...

    outputs = {name: n for n, name in enumerate(names)}
    assert arguments(b, json_text(outputs)) == outputs


def test_a_step_whose_slug_is_a_keyword_is_taken_by_needs():
    flow = flow_with(**{"class": lambda: 1})

    @flow.step
    def b(taken: int = needs(flow.steps["class"])): ...

    assert arguments(b, b'{"class":4}') == {"taken": 4}


def test_a_skipped_dependency_leaves_its_parameter_to_its_default():
    flow = Flow("f")
    a = flow.step(slug="a", when_exhausted="skip")(lambda: 1)

    @flow.step
    def b(a: int = 5, other: int | None = needs(a, default=None), deps=None): ...

    assert arguments(b, b"{}") == {"other": None, "deps": {}}
    assert arguments(b, b'{"a":0}') == {"a": 0, "other": 0, "deps": {"a": 0}}


def test_a_null_output_is_no_skipped_one():
    flow = flow_with(a=lambda: None)

    @flow.step
    def b(a=5): ...

    assert arguments(b, b'{"a":null}') == {"a": None}


def test_a_maps_first_free_parameter_is_its_element():
    flow = Flow("f")

    @flow.map
    def m(ctx, flow_input: list[int], context: Context, x: date): ...

    assert arguments(m, b'"2026-01-02"', b"[1]") == {
        "ctx": CTX,
        "flow_input": [1],
        "context": CTX,
        "x": date(2026, 1, 2),
    }


def test_a_null_element_is_none():
    flow = Flow("f")

    @flow.map
    def m(x): ...

    assert arguments(m, b"null") == {"x": None}


def test_only_a_handler_with_flow_input_asks_for_it():
    flow = Flow("f")

    @flow.step
    def a(ctx): ...

    @flow.step
    def b(flow_input): ...

    assert not a.binding.needs_flow_input
    assert b.binding.needs_flow_input


def test_arguments_can_be_passed_to_the_handler():
    flow = flow_with(a=lambda: 1)

    @flow.step
    def b(a: int, *, flow_input: int, deps: dict[str, Any]) -> int:
        return a + flow_input + len(deps)

    assert b(**arguments(b, b'{"a":1}', b"10")) == 12


@pytest.mark.parametrize(
    ("raw", "flow_input", "message"),
    [
        (b'{"a":"x"}', b"1", "outputs of dependencies: a: Input should be a valid integer, .* \\(got 'x'\\)"),
        (b'{"a":1}', b'"x"', "parameter 'flow_input': Input should be a valid integer, .* \\(got 'x'\\)"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(raw: bytes, flow_input: bytes, message: str):
    flow = flow_with(a=lambda: 1)

    @flow.step
    def b(a: int, flow_input: int): ...

    with pytest.raises(InvalidInputError, match=f"^{message}"):
        arguments(b, raw, flow_input)


def test_an_element_that_does_not_fit_names_the_field():
    flow = Flow("f")

    @flow.map
    def m(page: Page): ...

    with pytest.raises(InvalidInputError, match=r"^parameter 'page': url: Field required"):
        arguments(m, b'{"uri":"x"}')


def test_the_result_is_written_by_its_annotation():
    flow = Flow("f")

    @flow.step
    def a() -> list[Visit]: ...

    assert a.binding.encode([Visit(date(2026, 1, 2))]) == b'[{"day":"2026-01-02"}]'


def test_the_result_of_a_map_is_one_element():
    flow = Flow("f")

    @flow.map
    def a(x) -> int: ...

    assert a.binding.encode(3) == b"3"


@pytest.mark.parametrize(
    ("annotation", "result", "message"),
    [
        (int, "x", "Input should be a valid integer"),
        (None, 1, "Input should be None"),
        (Annotated[int, Field(ge=3)], 2, "greater than or equal to 3"),
        (Any, {1}, "a value of type set is no JSON"),
        (int, None, "Input should be a valid integer"),
    ],
)
def test_a_result_that_does_not_fit_is_refused(annotation: Any, result: Any, message: str):
    def a(): ...

    a.__annotations__["return"] = annotation
    step = Flow("f").step(a)
    with pytest.raises(InvalidInputError, match=f"^the handler's result: .*{message}"):
        step.binding.encode(result)


def test_a_result_is_a_range():
    flow = Flow("f")

    @flow.step
    def a() -> range: ...

    assert a.binding.encode(range(3)) == b"[0,1,2]"
