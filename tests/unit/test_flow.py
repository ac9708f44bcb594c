"""Flow: what the decorators record, and which options they take."""

from __future__ import annotations

import re
from inspect import currentframe
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from pgflow import Flow, FlowSpec, Step
from pgflow.errors import FlowDefinitionError, InvalidInputError


def test_a_step_may_be_decorated_with_and_without_parentheses():
    flow = Flow("f")

    @flow.step
    def a(): ...

    @flow.step()
    def b(): ...

    @flow.map
    def c(x): ...

    @flow.map()
    def d(x): ...

    assert [step.step_type for step in flow.steps.values()] == ["single", "single", "map", "map"]
    assert all(isinstance(step, Step) for step in (a, b, c, d))


def test_the_slug_is_the_functions_name_unless_given():
    flow = Flow("f")

    @flow.step
    def a(): ...

    @flow.step(slug="bee")
    def b(): ...

    assert list(flow.steps) == ["a", "bee"]
    assert b.slug == "bee"


def test_one_handler_may_serve_several_flows():
    one, two = Flow("one"), Flow("two")

    @one.step
    @two.step
    async def a(flow_input: int) -> int:
        return flow_input

    assert one.steps["a"].fn is two.steps["a"].fn
    assert one.steps["a"].is_async
    assert one.steps["a"].flow is one


def test_flows_are_independent():
    one, two = Flow("one"), Flow("two")
    one.step(slug="a")(lambda: 1)
    two.step(slug="b")(lambda: 1)
    assert (list(one.steps), list(two.steps)) == (["a"], ["b"])


def test_a_step_added_later_is_seen():
    flow = Flow("f")
    flow.step(slug="a")(lambda: 1)
    flow.check()
    flow.step(slug="b")(lambda a: 1)
    assert list(flow.steps) == ["a", "b"]


def test_repr_needs_no_check():
    flow = Flow("f")
    flow.step(slug="a")(lambda nothing: 1)
    assert repr(flow) == "<Flow 'f' of 1 steps>"


def test_only_callables_are_decorated():
    with pytest.raises(TypeError, match=r"@f\.step decorates functions, not 'a'"):
        Flow("f").step("a")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"@f\.map decorates functions, not 3"):
        Flow("f").map()(3)  # type: ignore[call-overload]


# ---------------------------------------------------------------------------------------- options


def faults(flow: Flow[Any, Any]) -> list[str]:
    """What check() says, each without its place, which must be in this file."""
    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    places, _, said = zip(*(fault.partition(": ") for fault in caught.value.faults), strict=True)
    assert all(re.fullmatch(r"tests/unit/test_flow\.py:\d+", place) for place in places)
    return list(said)


def of_step(**options: Any) -> list[str]:
    flow: Flow[Any, Any] = Flow("f")
    flow.step(slug="a", **options)(lambda: 1)
    return faults(flow)


def of_map(**options: Any) -> list[str]:
    flow: Flow[Any, Any] = Flow("f")
    flow.map(slug="a", **options)(lambda x: 1)
    return faults(flow)


def test_all_that_is_wrong_is_said_at_once_and_only_by_check():
    flow: Flow[Any, Any] = Flow("f", max_attempts=-1, jitter=2)
    number = currentframe().f_lineno - 1

    @flow.step(max_attempt=3, timeout=0, when_unmet="skipp", executor="", jitter=-1)
    def a(b, c): ...

    @flow.map(over="aa", run_if=[1], initial_task=2)
    def each(x): ...

    assert repr(flow) == "<Flow 'f' of 2 steps>"
    at = "tests/unit/test_flow.py"
    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    assert caught.value.faults == (
        f"{at}:{number}: flow 'f': max_attempts must be a whole number of at least 0, not -1",
        f"{at}:{number}: flow 'f': jitter must be a number from 0 to 1 (the part of the delay left to chance), not 2",
        f"{at}:{number + 3}: step 'a': @f.step has no option 'max_attempt'; did you mean 'max_attempts'?",
        f"{at}:{number + 3}: step 'a': timeout must be a whole number of at least 1, not 0",
        f"{at}:{number + 3}: step 'a': when_unmet must be 'fail', 'skip' or 'skip-cascade', not 'skipp'",
        f"{at}:{number + 3}: step 'a': executor must be 'process' or the name of one of the worker's, not ''",
        f"{at}:{number + 3}: step 'a': jitter must be a number from 0 to 1 (the part of the delay left to chance), "
        "not -1",
        f"{at}:{number + 6}: step 'each': run_if must be a dict (a JSON object to be contained), not [1]",
        f"{at}:{number + 6}: step 'each': @f.map has no option 'initial_task'; did you mean 'initial_tasks'?",
        f"{at}:{number + 3}: step 'a': parameter 'b' names no step of this flow: 'b'",
        f"{at}:{number + 3}: step 'a': parameter 'c' names no step of this flow: 'c'",
        f"{at}:{number + 6}: step 'each': over names no step of this flow: 'aa'; did you mean 'a'?",
    )


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout"])
def test_options_of_flows_are_whole_numbers(option: str, value: Any):
    flow: Flow[Any, Any] = Flow("f", **{option: value})
    flow.step(slug="a")(lambda: 1)
    (fault,) = faults(flow)
    assert fault.startswith(f"flow 'f': {option} must be a whole number of at least ")


@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout", "start_delay", "initial_tasks"])
def test_options_are_no_larger_than_postgresql_holds(option: str):
    flow: Flow[Any, Any] = Flow("f")
    flow.map(slug="a", **{option: 2**31 - 1})(lambda x: 1)
    flow.check()
    assert of_map(**{option: 2**31}) == [f"step 'a': {option} must be at most 2,147,483,647, not 2,147,483,648"]


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout", "start_delay", "initial_tasks"])
def test_options_of_steps_are_whole_numbers(option: str, value: Any):
    (fault,) = of_map(**{option: value})
    assert fault.startswith(f"step 'a': {option} must be a whole number of at least ")
    assert fault.endswith(f"not {value!r}")


def test_a_timeout_is_at_least_a_second():
    flow: Flow[Any, Any] = Flow("f", timeout=0)
    flow.step(slug="a", timeout=0)(lambda: 1)
    assert faults(flow) == [
        "flow 'f': timeout must be a whole number of at least 1, not 0",
        "step 'a': timeout must be a whole number of at least 1, not 0",
    ]


def test_zero_is_a_fine_number_for_all_others():
    flow: Flow[Any, Any] = Flow("f", max_attempts=0, base_delay=0)
    flow.map(slug="a", max_attempts=0, base_delay=0, start_delay=0, initial_tasks=0)(lambda x: 1)
    flow.check()


@pytest.mark.parametrize("option", ["when_unmet", "when_exhausted"])
def test_modes_are_three(option: str):
    flow: Flow[Any, Any] = Flow("f")
    for number, mode in enumerate(("fail", "skip", "skip-cascade")):
        flow.step(slug=f"a{number}", **{option: mode})(lambda: 1)
    flow.check()
    for wrong in ("ignore", None, ["skip"]):
        expected = f"step 'a': {option} must be 'fail', 'skip' or 'skip-cascade', not {wrong!r}"
        assert of_step(**{option: wrong}) == [expected]


@pytest.mark.parametrize("option", ["run_if", "run_unless"])
@pytest.mark.parametrize("pattern", [[1], "x", 3, {"x": {1}}, {"x": float("nan")}, {"x": "\0"}])
def test_patterns_are_json_objects(option: str, pattern: Any):
    (fault,) = of_step(**{option: pattern})
    assert fault.startswith(f"step 'a': {option} must be a ")
    assert "JSON object" in fault


@pytest.mark.parametrize("name", ["", 1, ["dask"]])
def test_a_step_names_its_executor(name: Any):
    flow: Flow[Any, Any] = Flow("f")
    flow.map(slug="a", executor="process")(lambda x: 1)
    flow.step(slug="b", executor="dask")(lambda: 1)
    flow.check()
    expected = f"step 'a': executor must be 'process' or the name of one of the worker's, not {name!r}"
    assert of_step(executor=name) == [expected]


def test_transactional_is_a_truth_value():
    assert of_step(transactional="yes") == ["step 'a': transactional must be True or False, not 'yes'"]


def test_a_slug_is_text():
    flow: Flow[Any, Any] = Flow("f")
    flow.step(slug=["a"])(lambda: 1)  # type: ignore[call-overload]
    assert "step '<lambda>': slug must be text, not ['a']" in faults(flow)


def test_initial_tasks_is_for_maps():
    assert of_step(initial_tasks=3) == ["step 'a': initial_tasks is for maps"]


def test_an_unknown_option_is_refused():
    assert of_step(max_attemps=3) == ["step 'a': @f.step has no option 'max_attemps'; did you mean 'max_attempts'?"]
    assert of_map(ovr="b") == ["step 'a': @f.map has no option 'ovr'; did you mean 'over'?"]
    [fault] = of_step(ovr="b")
    assert fault.startswith("step 'a': @f.step has no option 'ovr'; it has slug, depends_on, max_attempts, ")
    assert "initial_tasks" not in fault


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"retries": 3},
            "Flow() has no option 'retries'; it has max_attempts, base_delay, timeout, max_delay, jitter, ",
        ),
        ({"time_out": 3}, "Flow() has no option 'time_out'; did you mean 'timeout'?"),
    ],
)
def test_an_unknown_option_of_a_flow_is_refused_at_once(given, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        Flow("f", **given)


# ---------------------------------------------------------------------------------------- encode_input


def test_a_root_map_needs_a_list_as_input():
    flow = Flow("f")
    flow.map(slug="m")(lambda x: x)
    assert flow.encode_input([1, 2]) == b"[1,2]"
    assert flow.encode_input(range(2)) == b"[0,1]"
    for wrong in ({"x": 1}, None, "[1]"):
        with pytest.raises(InvalidInputError, match="flow 'f' has a root map step 'm': its input must be a list, not "):
            flow.encode_input(wrong)


def test_a_root_map_of_n_tasks_takes_any_input():
    flow = Flow("f")
    flow.map(slug="m", initial_tasks=2)(lambda x: x)
    assert flow.encode_input({"x": 1}) == b'{"x":1}'


def test_a_dependent_map_takes_any_input():
    flow = Flow("f")
    flow.step(slug="a")(lambda: [1])
    flow.map(slug="m", over="a")(lambda x: x)
    assert flow.encode_input(None) == b"null"


def test_an_input_that_is_no_json_is_refused():
    flow = Flow("f")
    flow.step(slug="a")(lambda: 1)
    with pytest.raises(InvalidInputError, match=r"at \$\.x"):
        flow.encode_input({"x": {1}})


class Job(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")
    image: bytes


def test_an_input_may_have_bytes_where_a_handler_says_so():
    flow = Flow("f")
    flow.step(slug="any")(lambda flow_input: 1)
    with pytest.raises(InvalidInputError, match="bytes travel as base64 text, and only where an annotation says bytes"):
        flow.encode_input({"image": b"\xff"})

    @flow.step
    def resize(flow_input: Job) -> bytes:
        return flow_input.image

    assert flow.encode_input({"image": b"\xff", "more": 1}) == b'{"image":"_w==","more":1}'
    with pytest.raises(InvalidInputError, match=r"only where an annotation says bytes .*, at \$\.image"):
        flow.encode_input({"image": b"\xff", "other": b"\xff"})

    each = Flow("f")

    @each.map
    def size(image: bytes) -> int:
        return len(image)

    assert each.encode_input([b"\xff", b""]) == b'["_w==",""]'
    with pytest.raises(InvalidInputError, match="only where an annotation says bytes"):
        each.encode_input(b"\xff")


def test_by_name_input_is_the_run_s_input_for_what_begins_it_only():
    def double(input: bytes) -> bytes:
        return input * 2

    roots = FlowSpec.load({"slug": "f", "steps": [{"slug": "double"}]})
    assert Flow.of(roots, {"double": double}).encode_input(b"\xff") == b'"_w=="'
    later = {"slug": "double", "depends_on": ["start"]}
    behind = FlowSpec.load({"slug": "f", "steps": [{"slug": "start"}, later]})
    with pytest.raises(InvalidInputError, match="only where an annotation says bytes"):
        Flow.of(behind, {"start": lambda input: 1, "double": double}).encode_input(b"\xff")
