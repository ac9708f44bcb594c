"""Step: stays the function it was, and can name itself as a dependency."""

from __future__ import annotations

import inspect
from functools import partial, wraps
from typing import Any

import pytest

from pgflow import Context, Flow, needs


def test_a_decorated_function_stays_callable_as_it_was():
    flow = Flow("f")

    @flow.step
    def add(a: int, b: int = 2, *, c: int = 3) -> int:
        """Adds."""
        return a + b + c

    assert add(1) == 6
    assert add(1, b=1, c=1) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert list(inspect.signature(add).parameters) == ["a", "b", "c"]


async def test_a_decorated_async_function_stays_awaitable():
    flow = Flow("f")

    @flow.map
    async def double(x: int, ctx: Context) -> int:
        return 2 * x * ctx.attempt

    assert await double(4, Context()) == 8
    assert double.is_async


def test_calling_a_step_of_a_faulty_flow_just_calls_it():
    flow = Flow("no-slug")

    @flow.step
    def a(unknown: int) -> int:
        return unknown

    assert a(3) == 3


class AsyncHandler:
    async def __call__(self) -> None: ...


class Handler:
    def __call__(self) -> None: ...


async def plain_async(x: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (plain_async, True),
        (partial(plain_async, x=2), True),
        (partial(partial(plain_async), x=2), True),
        (AsyncHandler(), True),
        (Handler(), False),
        (lambda: 1, False),
        (len, False),
    ],
)
def test_async_handlers_are_told_from_plain_ones(handler: Any, is_async: bool):
    assert Flow("f").step(slug="a")(handler).is_async is is_async


def test_the_location_is_that_of_the_function_behind_wrappers():
    def wrapped(fn: Any) -> Any:
        @wraps(fn)
        def inner(*args: Any) -> Any: ...

        return inner

    def a(): ...

    flow = Flow("f")
    location = flow.step(a).location
    assert location == f"tests/unit/test_step.py:{inspect.getsourcelines(a)[1]}"
    assert flow.step(wrapped(a)).location == location
    assert flow.step(slug="b")(partial(wrapped(a))).location == location
    assert flow.step(len).location == ""


def test_needs_takes_a_step_only():
    with pytest.raises(TypeError, match=r"needs\(\) takes a step .* not 'scrape'"):
        needs("scrape")  # type: ignore[arg-type]


def test_a_step_shows_its_kind_and_place():
    assert repr(Flow("f").map(slug="m")(lambda x: x)) == "<map step f.m>"
