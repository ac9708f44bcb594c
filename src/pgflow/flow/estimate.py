"""How many tasks a run of a flow would have, as far as can be said before it runs."""

from __future__ import annotations

from typing import Any

from pgflow.errors import InvalidInputError
from pgflow.flow.spec import FlowSpec, StepSpec

#: Stands for an input that is not known: None is an input like any other.
UNKNOWN: Any = object()


def task_counts(spec: FlowSpec, input: Any = UNKNOWN) -> dict[str, int | None]:
    """Tasks per step, in order, if every step runs; None where a list that is not known yet decides.

        task_counts(spec, ["a", "b"])         # {'shout': 2, 'collect': 1}

    Raises InvalidInputError for an input that is no list where a map needs one, and where a map expects another number
    of elements than it will be given.
    """
    counts: dict[str, int | None] = {}
    types = {step.slug: step.step_type for step in spec.steps}
    for step in spec.steps_in_order:
        if step.step_type == "single":
            counts[step.slug] = 1
        elif step.depends_on:  # the output of a map has as many elements as the map has tasks
            source = step.depends_on[0]
            counts[step.slug] = _expected(spec, step, counts[source] if types[source] == "map" else None)
        elif step.initial_tasks is not None:
            counts[step.slug] = step.initial_tasks
        else:
            counts[step.slug] = _elements(spec, step, input)
    return counts


def _expected(spec: FlowSpec, step: StepSpec, given: int | None) -> int | None:
    if step.initial_tasks is None or given is None:
        return step.initial_tasks if given is None else given
    if given != step.initial_tasks:
        raise InvalidInputError(
            f"flow {spec.slug!r}: step {step.slug!r} expects {step.initial_tasks:,} elements (initial_tasks), "
            f"but step {step.depends_on[0]!r} has {given:,} tasks: it would fail"
        )
    return given


def _elements(spec: FlowSpec, step: StepSpec, input: Any) -> int | None:
    if input is UNKNOWN:
        return None
    if not isinstance(input, list):
        raise InvalidInputError(
            f"flow {spec.slug!r} has a root map step {step.slug!r}: its input must be a list, "
            f"not {type(input).__name__}"
        )
    return len(input)
