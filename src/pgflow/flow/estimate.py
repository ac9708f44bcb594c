"""How many tasks a run of a flow would have, as far as can be said before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow.spec import FlowSpec, StepSpec
from pgflow.flow.spec_faults import line

#: Stands for an input that is not known: None is an input like any other.
UNKNOWN: Any = object()


def task_counts(spec: FlowSpec, input: Any = UNKNOWN) -> dict[str, int | None]:
    """Tasks per step, in order, if every step runs; None where a list that is not known yet decides.

        task_counts(spec, ["a", "b"])         # {'shout': 2, 'collect': 1}

    Raises InvalidInputError for an input that is no list where a map needs one, FlowDefinitionError with every map that
    expects another number of elements than it will be given, and its path.
    """
    counts: dict[str, int | None] = {}
    maps = {step.slug for step in spec.steps if step.step_type == "map"}
    for step in spec.steps_in_order:
        if step.slug not in maps:
            counts[step.slug] = 1
        elif step.initial_tasks is not None:
            counts[step.slug] = step.initial_tasks
        elif step.depends_on:  # the output of a map has as many elements as the map has tasks
            source = step.depends_on[0]
            counts[step.slug] = counts[source] if source in maps else None
        else:
            counts[step.slug] = _elements(spec, step, input)
    if faults := list(_length_faults(spec, {slug: counts[slug] for slug in maps})):
        raise FlowDefinitionError(spec.slug, faults)
    return counts


def _length_faults(spec: FlowSpec, lengths: Mapping[str, int | None]) -> Iterator[str]:
    """Maps of maps that expect another length than these have."""
    for place, step in enumerate(spec.steps):
        for source in step.depends_on if step.initial_tasks is not None else ():
            given = lengths.get(source)
            if given is not None and given != step.initial_tasks:
                yield line(
                    ("steps", place, "initial_tasks"),
                    f"{step.initial_tasks:,} elements are expected, but step {source!r} has {given:,} tasks: "
                    "this step would fail",
                )


def _elements(spec: FlowSpec, step: StepSpec, input: Any) -> int | None:
    if input is UNKNOWN:
        return None
    if not isinstance(input, list):
        raise InvalidInputError(
            f"flow {spec.slug!r} has a root map step {step.slug!r}: its input must be a list, "
            f"not {type(input).__name__}"
        )
    return len(input)
