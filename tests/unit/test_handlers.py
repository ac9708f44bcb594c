"""Functions by name: Handlers, and a flow that is data with its functions (Flow.of)."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest

from pgflow import Context, Flow, FlowSpec, Handlers, needs
from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow.retry import NOTHING_SAID
from pgflow.testing import run_inline


def spec(*steps: dict[str, Any]) -> FlowSpec:
    return FlowSpec.load({"slug": "f", "steps": list(steps)})


FETCH = {"slug": "fetch"}
EACH = {"slug": "each", "step_type": "map", "depends_on": ["fetch"]}
LAST = {"slug": "last", "depends_on": ["each", "fetch"]}


# ------------------------------------------------------------------------------------ Flow.of


def test_a_flow_that_is_data_runs_with_functions():
    def fetch(input: dict[str, Any], ctx: Context) -> list[str]:
        return [input["text"], ctx.step_slug]

    async def each(word: str, flow_input: dict[str, Any]) -> str:
        return word + flow_input["mark"]

    def last(each: list[str], deps: dict[str, Any], input: Any) -> list[Any]:
        return [each, deps == input, sorted(input)]

    flow = Flow.of(spec(LAST, FETCH, EACH), {"fetch": fetch, "each": each, "last": last, "other": print})
    run = run_inline(flow, {"text": "hi", "mark": "!"})
    assert run.result == {"last": [["hi!", "fetch!"], True, ["each", "fetch"]]}
    assert flow.shape() == spec(LAST, FETCH, EACH).shape()


def test_all_options_arrive():
    given = spec(
        {
            **FETCH,
            "handler": "go",
            "max_attempts": 4,
            "base_delay": 1,
            "timeout": 2,
            "start_delay": 3,
            "run_if": {"a": 1},
        },
        {**EACH, "initial_tasks": 2, "when_exhausted": "skip", "run_unless": {"fetch": [1]}, "when_unmet": "fail"},
    )
    assert Flow.of(given, {"go": lambda: 1, "each": lambda x: x}).shape() == given.shape()


def test_several_steps_may_share_a_function_and_a_step_may_have_its_own():
    double = {"slug": "double", "handler": "add", "depends_on": ["one"]}
    flow = Flow.of(
        spec({"slug": "one", "handler": "add"}, double, {"slug": "three", "handler": "add", "depends_on": ["double"]}),
        {"add": lambda input: 1 if input is None else sum(input.values()) * 2, "three": lambda input: "own"},
    )
    assert run_inline(flow, None).result == {"three": "own"}


@pytest.mark.parametrize(
    ("functions", "fault"),
    [
        ({"fetch": lambda: 1, "last": lambda: 1, "eech": lambda x: 1}, "step 'each' has no function 'each'; did you"),
        ({"fetch": lambda last: 1}, "the steps wait for each other"),
        (
            {"last": lambda eac: 1},
            "parameter 'eac' names no step of this flow: 'eac'; did you mean 'each'?",
        ),
        ({"each": lambda: 1}, "a map handler needs a parameter for its element"),
        ({"each": lambda x, other: 1}, "parameter 'other' is not allowed: a map's handler gets"),
        ({"fetch": lambda *args: 1}, "parameter '*args' is not allowed"),
    ],
)
def test_functions_that_do_not_fit_are_refused(functions: dict[str, Any], fault: str):
    given = {"fetch": lambda: [], "each": lambda x: x, "last": lambda: 1} | functions
    if "eech" in functions:
        del given["each"]
    with pytest.raises(FlowDefinitionError) as raised:
        Flow.of(spec(FETCH, EACH, LAST), given)
    assert fault in str(raised.value)


def test_a_function_takes_only_what_its_step_depends_on():
    with pytest.raises(FlowDefinitionError, match="step 'b' does not depend on 'a', which its function takes"):
        Flow.of(spec({"slug": "a"}, {"slug": "b"}), {"a": lambda: 1, "b": lambda a: a})


def test_in_a_flow_of_functions_input_is_a_name_like_any_other():
    flow = Flow("f")
    flow.step(slug="input")(lambda: 1)
    flow.step(slug="b")(lambda input: input + 1)
    assert run_inline(flow, None).result == {"b": 2}


# ------------------------------------------------------------------------------------ Handlers


def test_functions_are_recorded_and_stay_what_they_were():
    handlers = Handlers()

    @handlers("summarize")
    def short(text: str) -> str:
        return text[:3]

    @handlers
    async def fetch() -> list[str]:
        return []

    assert short("abcdef") == "abc"
    assert dict(handlers) == {"summarize": short, "fetch": fetch}
    assert repr(handlers) == "<Handlers summarize, fetch>"


def test_a_step_of_a_flow_may_be_a_handler_too():
    flow = Flow("f")
    handlers = Handlers()

    @handlers("again")
    @flow.step
    def only() -> int:
        return 1

    assert handlers["again"]() == 1
    assert not hasattr(handlers["again"], "flow")


def test_the_options_of_a_worker_go_with_a_handler():
    flow = Flow("f", retry_on=OSError, max_delay=9)
    handlers = Handlers()

    @handlers("both", jitter=0.5, no_retry_on=KeyError)
    @flow.step(executor="process", no_retry_on=ValueError, max_attempts=7, timeout=3)
    def only() -> int:
        return 1

    @handlers(executor="pool", transactional=False)
    def own_name() -> int:
        return 2

    assert (only(), own_name(), handlers["both"](), handlers["own_name"]()) == (1, 2, 1, 2)
    given: dict[str, Any] = {**handlers, "step": flow.step(slug="other", jitter=1)(lambda: 3), "plain": lambda: 4}
    made = Flow.of(spec(*({"slug": name, "max_attempts": 2} for name in given)), given).steps
    both = {"retry_on": OSError, "no_retry_on": KeyError, "max_delay": 9, "jitter": 0.5}
    for step in (made["both"], handlers.step("both", "map"), (handlers | Handlers()).step("both", "single")):
        assert step is not None
        assert (step.options.executor, asdict(step.retry)) == ("process", both)
    assert made["both"].options.max_attempts == 2
    assert made["both"].options.timeout is None
    assert made["own_name"].options.executor == "pool"
    assert (made["step"].retry.jitter, made["step"].retry.retry_on) == (1, OSError)
    assert (made["plain"].options.executor, made["plain"].retry) == (None, NOTHING_SAID)


def test_a_handler_with_options_may_become_a_step_again_or_another_s_handler():
    handlers, others = Handlers(), Handlers()
    handlers("a", executor="process", jitter=0.5)(lambda: 1)
    others("b", jitter=1)(handlers["a"])
    assert others.step("b", "single").options.executor == "process"
    assert others.step("b", "single").retry.jitter == 1
    flow = Flow("f")
    flow.step(slug="c")(handlers["a"])
    assert run_inline(flow, None).result == {"c": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_attempts": 3},
            "max_attempts is no option of a handler: it stands in the flow's spec, with the steps that",
        ),
        ({"timeout": 3}, "timeout is no option of a handler: it stands in the flow's spec"),
        ({"run_if": {}}, "run_if is no option of a handler"),
        ({"retri_on": OSError}, "a handler has no option 'retri_on'; did you mean 'retry_on'?"),
        ({"executor": ""}, "executor must be 'process' or the name of one of the worker's, not ''"),
        ({"transactional": 1}, "transactional must be True or False, not 1"),
    ],
)
def test_other_options_are_refused_at_once(options: dict[str, Any], message: str):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        Handlers()("x", **options)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        Handlers()(**options)


def test_options_that_no_worker_could_heed_are_found_at_once():
    async def never(ctx: Context) -> None: ...

    handlers = Handlers()
    handlers("wild", jitter=2, retry_on=5)(lambda: 1)
    handlers("loop", executor="process")(never)
    handlers("bound", transactional=True)(never)
    with pytest.raises(FlowDefinitionError) as raised:
        handlers.check()
    said = str(raised.value)
    assert "handler 'wild': jitter must be a number from 0 to 1" in said
    assert "handler 'wild': retry_on takes an exception class, or a list of them, not 5" in said
    assert "handler 'loop': executor='process' is for plain functions" in said
    assert "handler 'bound': transactional=True needs to know the whole flow: give the worker `Flow.of(spec, " in said
    with pytest.raises(FlowDefinitionError) as raised:
        Flow.of(spec({"slug": "wild"}, {"slug": "loop"}, {"slug": "bound"}), handlers).check()
    assert len(raised.value.faults) == 3


def test_a_run_in_memory_heeds_them():
    handlers = Handlers()

    @handlers("a", no_retry_on=ValueError)
    def fail(input: str) -> None:
        raise {"value": ValueError, "os": OSError}[input]

    flow = Flow.of(spec({"slug": "a", "max_attempts": 3}), handlers)
    assert [run_inline(flow, what).attempts["a"] for what in ("value", "os")] == [(1,), (3,)]


@pytest.mark.parametrize("wrong", [5, None])
def test_what_is_no_function_is_refused(wrong: Any):
    with pytest.raises(TypeError, match="handlers"):
        Handlers()(wrong)
    with pytest.raises(TypeError, match="decorates functions"):
        Handlers()("name")(wrong)


@pytest.mark.parametrize("given", [None, [print]])
def test_functions_come_by_name(given: Any):
    with pytest.raises(InvalidInputError, match=r"functions must be a mapping, \{step: function\}, not "):
        Flow.of(spec({"slug": "a"}), given)


def test_what_has_no_name_of_its_own_is_given_one():
    half = partial(round, ndigits=1)
    with pytest.raises(TypeError, match="that has one"):
        Handlers()(half)
    assert Handlers()("half")(half) is half


def test_a_name_is_given_once_also_when_handlers_are_joined():
    one, other = Handlers(), Handlers()
    one("a")(print)
    with pytest.raises(ValueError, match="there is a handler 'a' already"):
        one("a")(len)
    other("b")(len)
    assert dict(one | other) == {"a": print, "b": len}
    assert dict(one | one) == {"a": print}
    other("a")(len)
    with pytest.raises(ValueError, match="there is a handler 'a' already"):
        one | other


def test_what_no_step_could_use_is_found_at_once():
    handlers = Handlers()

    @handlers("bad")
    def bad(*args: int) -> int: ...

    @handlers("worse")
    def worse(x: int):
        yield x

    @handlers("foreign")
    def foreign(x: int = needs(Flow("g").step(slug="s")(lambda: 1))) -> int: ...

    with pytest.raises(FlowDefinitionError) as raised:
        handlers.check()
    said = str(raised.value)
    assert "handler 'bad': parameter '*args' is not allowed" in said
    assert "handler 'worse': a generator cannot be a handler" in said
    assert "handler 'foreign': parameter 'x' needs <single step g.s>, which belongs to another flow" in said
    assert "test_handlers.py:" in said


def test_they_say_why_they_cannot_serve_a_flow():
    handlers = Handlers()
    handlers("fetch")(lambda flow_input: [])
    handlers("each")(lambda: 1)
    handlers("last")(lambda fetch, eech, more=1: 1)
    handlers("sumarize")(lambda x: 1)
    assert handlers.faults(spec(FETCH)) == []
    assert handlers.faults(spec(FETCH, EACH, LAST, {"slug": "z", "handler": "summarize"})) == [
        "step 'each', handler 'each': a map handler needs a parameter for its element",
        "step 'last' does not depend on 'eech', which handler 'last' takes",
        "step 'z' needs a handler 'summarize'; did you mean 'sumarize'?",
    ]


@pytest.mark.parametrize("way", [{"run_if": {}}, {"when_exhausted": "skip"}])
def test_what_may_be_skipped_needs_a_default(way: dict[str, Any]):
    handlers = Handlers()
    handlers("fetch")(lambda: 1)
    handlers("careless")(lambda fetch: fetch)
    handlers("careful")(lambda fetch=None: fetch)
    last = {"slug": "last", "depends_on": ["fetch"], "handler": "careful"}
    assert handlers.faults(spec({**FETCH, **way}, last)) == []
    (fault,) = handlers.faults(spec({**FETCH, **way}, {**last, "handler": "careless"}))
    assert fault == "step 'fetch' may be skipped: handler 'careless' of step 'last' needs a default for it"
    assert handlers.faults(spec({**FETCH, **way, "when_unmet": "skip-cascade", "when_exhausted": "fail"}, last)) == []
