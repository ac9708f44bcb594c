"""FlowBuilder: a flow as data, collected step by step and checked as a whole."""

from __future__ import annotations

from typing import Any, Self

from typing_extensions import Unpack

from pgflow.flow.spec import FlowSpec, StepFields


class FlowBuilder:
    """Collects the steps of a flow that a program makes at run time; no I/O.

        builder = FlowBuilder("report", max_attempts=5)
        builder.add_step("fetch")
        builder.add_step("summarize", step_type="map", depends_on=["fetch"], handler="llm")
        client.compile(builder.build())

    Steps may come in any order. The options are those of FlowSpec and StepSpec.
    """

    def __init__(
        self,
        slug: str,
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
    ) -> None:
        self._fields = {"slug": slug, "max_attempts": max_attempts, "base_delay": base_delay, "timeout": timeout}
        self._steps: list[dict[str, Any]] = []

    def add_step(self, slug: str, **fields: Unpack[StepFields]) -> Self:
        """Adds a step; returns the builder, so that calls can be chained."""
        self._steps.append({"slug": slug, **fields})
        return self

    def build(self) -> FlowSpec:
        """The flow; raises FlowDefinitionError with every fault and its path."""
        return FlowSpec.load({**self._fields, "steps": self._steps})
