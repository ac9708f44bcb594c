"""Flow: what the decorators record, and which options they take."""

from __future__ import annotations

from typing import Any

import pytest

from pgflow import Flow, Step
from pgflow.errors import InvalidInputError


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


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout"])
def test_options_of_flows_are_whole_numbers(option: str, value: Any):
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least"):
        Flow("f", **{option: value})


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout", "start_delay", "initial_tasks"])
def test_options_of_steps_are_whole_numbers(option: str, value: Any):
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least"):
        Flow("f").map(**{option: value})


def test_a_timeout_is_at_least_a_second():
    with pytest.raises(ValueError, match="timeout must be a whole number of at least 1, not 0"):
        Flow("f", timeout=0)
    with pytest.raises(ValueError, match="timeout must be a whole number of at least 1, not 0"):
        Flow("f").step(timeout=0)


def test_zero_is_a_fine_number_for_all_others():
    Flow("f", max_attempts=0, base_delay=0).map(max_attempts=0, base_delay=0, start_delay=0, initial_tasks=0)


@pytest.mark.parametrize("option", ["when_unmet", "when_exhausted"])
def test_modes_are_three(option: str):
    flow = Flow("f")
    for mode in ("fail", "skip", "skip-cascade"):
        flow.step(**{option: mode})
    with pytest.raises(ValueError, match=f"{option} must be 'fail', 'skip' or 'skip-cascade', not 'ignore'"):
        flow.step(**{option: "ignore"})


@pytest.mark.parametrize("option", ["run_if", "run_unless"])
@pytest.mark.parametrize("pattern", [[1], "x", 3, {"x": {1}}, {"x": float("nan")}, {"x": "\0"}])
def test_patterns_are_json_objects(option: str, pattern: Any):
    with pytest.raises(ValueError, match=f"^{option}"):
        Flow("f").step(**{option: pattern})


@pytest.mark.parametrize("name", ["", 1, ["dask"]])
def test_a_step_names_its_executor(name: Any):
    Flow("f").map(executor="process")
    Flow("f").map(executor="dask")
    with pytest.raises(ValueError, match="executor must be 'process' or the name of one of the worker's, not "):
        Flow("f").step(executor=name)


def test_transactional_is_a_truth_value():
    with pytest.raises(ValueError, match="transactional must be True or False, not 'yes'"):
        Flow("f").step(transactional="yes")


def test_initial_tasks_is_for_maps():
    with pytest.raises(ValueError, match="initial_tasks is for maps"):
        Flow("f").step(initial_tasks=3)  # type: ignore[call-overload]


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="max_attemps"):
        Flow("f").step(max_attemps=3)  # type: ignore[call-overload]


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
