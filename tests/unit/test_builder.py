"""FlowBuilder: collects steps, says all that is wrong at the end."""

from __future__ import annotations

import pytest

from pgflow import FlowBuilder, FlowSpec
from pgflow.errors import FlowDefinitionError


def test_it_builds_what_a_spec_says():
    builder = FlowBuilder("report", max_attempts=5, base_delay=0, timeout=9)
    builder.add_step("join", depends_on=["summarize"], run_if={"summarize": ["a"]}, when_unmet="fail", start_delay=1)
    builder.add_step("fetch", max_attempts=1).add_step(
        "summarize", step_type="map", depends_on=["fetch"], handler="llm", initial_tasks=3, when_exhausted="skip"
    )
    assert builder.build() == FlowSpec.load(
        {
            "slug": "report",
            "max_attempts": 5,
            "base_delay": 0,
            "timeout": 9,
            "steps": [
                {
                    "slug": "join",
                    "depends_on": ["summarize"],
                    "run_if": {"summarize": ["a"]},
                    "when_unmet": "fail",
                    "start_delay": 1,
                },
                {"slug": "fetch", "max_attempts": 1},
                {
                    "slug": "summarize",
                    "step_type": "map",
                    "depends_on": ["fetch"],
                    "handler": "llm",
                    "initial_tasks": 3,
                    "when_exhausted": "skip",
                },
            ],
        }
    )


def test_all_that_is_wrong_is_said_at_the_end():
    builder = FlowBuilder("re-port", timeout=0).add_step("a", depends_on=["b"]).add_step("a", colour="red")
    with pytest.raises(FlowDefinitionError) as raised:
        builder.build()
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "slug", "timeout", "steps[1].colour", "steps[1].slug", "steps[0].depends_on[0]",
    ]  # fmt: skip


def test_nothing_is_no_flow():
    with pytest.raises(FlowDefinitionError, match="steps: at least one is needed"):
        FlowBuilder("empty").build()
