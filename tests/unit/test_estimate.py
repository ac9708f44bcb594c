"""task_counts: how many tasks a run would have, as far as that can be known."""

from __future__ import annotations

from typing import Any

import pytest

from pgflow import FlowSpec
from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow.estimate import task_counts


def counts(*steps: dict[str, Any], **input: Any) -> dict[str, int | None]:
    return task_counts(FlowSpec.load({"slug": "f", "steps": list(steps)}), **input)


ONE = {"slug": "one"}
ROOT = {"slug": "root", "step_type": "map"}


def over(source: str, slug: str, **more: Any) -> dict[str, Any]:
    return {"slug": slug, "step_type": "map", "depends_on": [source], **more}


def test_a_single_step_has_one_task():
    assert counts(ONE, {"slug": "two", "depends_on": ["one"]}) == {"one": 1, "two": 1}


def test_a_root_map_has_one_per_element_of_the_input():
    assert counts(ROOT, over("root", "behind")) == {"root": None, "behind": None}
    assert counts(ROOT, over("root", "behind"), input=[1, 2]) == {"root": 2, "behind": 2}
    assert counts(ROOT, input=[]) == {"root": 0}
    with pytest.raises(InvalidInputError, match="must be a list, not NoneType"):
        counts(ROOT, input=None)


def test_a_map_over_a_single_step_is_not_known_before_it_ran():
    assert counts(over("one", "each"), over("each", "again"), ONE, input={}) == {"one": 1, "each": None, "again": None}


def test_initial_tasks_are_known():
    assert counts({**ROOT, "initial_tasks": 5}, over("root", "behind"), ONE, over("one", "n", initial_tasks=7)) == {
        "root": 5, "behind": 5, "one": 1, "n": 7,
    }  # fmt: skip


@pytest.mark.parametrize("input", [{}, {"input": [1, 2]}])
def test_a_map_that_expects_another_length_would_fail(input: dict[str, Any]):
    source = ROOT if input else {**ROOT, "initial_tasks": 2}
    with pytest.raises(FlowDefinitionError) as raised:
        counts(ONE, over("root", "n", initial_tasks=7), source, over("n", "m", initial_tasks=1_000), **input)
    assert raised.value.flow_slug == "f"
    assert raised.value.faults == (
        "steps[1].initial_tasks: 7 elements are expected, but step 'root' has 2 tasks: this step would fail",
        "steps[3].initial_tasks: 1,000 elements are expected, but step 'n' has 7 tasks: this step would fail",
    )
    assert counts(source, over("root", "n", initial_tasks=2), **input) == {"root": 2, "n": 2}
