"""A flow, checked: its order, edges and bindings; or all that is wrong with it, at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from pgflow.errors import FlowDefinitionError
from pgflow.flow import json_types
from pgflow.flow.binding import Binding, Parameter, Signature, read_signature
from pgflow.flow.graph import find_cycles, topological_order
from pgflow.flow.schedule import Schedule
from pgflow.flow.slugs import did_you_mean, slug_fault
from pgflow.flow.spec_graph import pattern_faults
from pgflow.flow.step import NamedStep, Step, may_be_skipped_alone


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be said of a flow that is well formed; steps are in topological order."""

    steps: Mapping[str, Step[Any, Any]]
    dependencies: Mapping[str, tuple[str, ...]]
    bindings: Mapping[str, Binding]
    schedules: Sequence[Schedule]
    #: A step that maps over the run's input, which must be a list then.
    root_map: str | None


def make_plan(
    flow_slug: str,
    steps: Sequence[Step[Any, Any]],
    schedules: Sequence[Schedule] = (),
    known_faults: Sequence[str] = (),
) -> Plan:
    """Checks a flow; raises FlowDefinitionError that lists every fault, with file and line."""
    faults = [fault for fault in [slug_fault(flow_slug, "flow"), *known_faults] if fault]
    if not steps:
        faults.append("it has no steps: decorate functions with @flow.step or @flow.map")
    by_slug: dict[str, Step[Any, Any]] = {}
    for step in steps:
        first = by_slug.setdefault(step.slug, step)
        if first is not step:
            faults.append(_at(step, f"a step of this slug is defined at {first.location} already"))
        elif fault := slug_fault(step.slug, "step"):
            faults.append(_at(step, fault))
        if fault := step.executor_fault:
            faults.append(_at(step, fault))
        faults += (_at(step, fault) for fault in step.faults)

    signatures: dict[str, Signature] = {}
    dependencies: dict[str, tuple[str, ...]] = {}
    for step in steps:
        signature = read_signature(step)
        faults += (_at(step, fault) for fault in _transaction_faults(step, signature))
        found, name_faults = _dependencies(step, signature, by_slug)
        faults += (_at(step, fault) for fault in (*signature.faults, *name_faults))
        signatures.setdefault(step.slug, signature)
        dependencies.setdefault(step.slug, found)
    for cycle in find_cycles(dependencies):
        faults.append(_at(by_slug[cycle[0]], f"the steps wait for each other: {' → '.join(cycle)}"))
    unconvertible = {slug: list(_annotation_faults(signatures[slug])) for slug in by_slug}
    for slug, step in by_slug.items():
        faults += (_at(step, fault) for fault in unconvertible[slug])
        faults += (_at(step, fault) for fault in _skip_faults(step, signatures[slug], by_slug))
        if not any(unconvertible[s] for s in (slug, *dependencies[slug])):
            faults += (_at(step, fault) for fault in _edge_faults(step, signatures, dependencies, by_slug))
    root_map = _root_map(by_slug, dependencies)
    faults += _schedule_faults(schedules, root_map)
    if faults:
        raise FlowDefinitionError(flow_slug, faults)

    order = topological_order(dependencies)
    return Plan(
        steps={slug: by_slug[slug] for slug in order},
        dependencies=dependencies,
        bindings={
            slug: Binding(by_slug[slug].step_type, signatures[slug].parameters, signatures[slug].returns)
            for slug in order
        },
        schedules=tuple(schedules),
        root_map=root_map,
    )


def _at(step: Step[Any, Any], fault: str) -> str:
    return f"{step.location}: step {step.slug!r}: {fault}"


def _transaction_faults(step: Step[Any, Any], signature: Signature) -> Iterator[str]:
    if not step.options.transactional:
        return
    if (executor := step.options.executor) is not None:
        yield f"transactional=True and executor={executor!r} exclude each other: a connection cannot go to a process"
    if not any(p.role == "ctx" for p in signature.parameters):
        yield "a transactional step needs a parameter 'ctx': its connection is ctx.connection"


def _root_map(steps: Mapping[str, Step[Any, Any]], dependencies: Mapping[str, Sequence[str]]) -> str | None:
    for slug, step in steps.items():
        if step.step_type == "map" and not dependencies[slug] and step.options.initial_tasks is None:
            return slug
    return None


def _schedule_faults(schedules: Sequence[Schedule], root_map: str | None) -> Iterator[str]:
    first: dict[str, Schedule] = {}
    for schedule in schedules:
        faults = list(schedule.faults())
        if not faults and root_map is not None and not schedule.raw_input.startswith(b"["):
            faults.append(f"input: it must be a list, for the root map step {root_map!r}")
        other = first.setdefault(str(schedule.name), schedule)
        if other is not schedule:
            faults.append(f"one of this name is declared at {other.location} already: give it a name=")
        yield from (f"{schedule.location}: schedule {schedule.name!r}: {fault}" for fault in faults)


# ---------------------------------------------------------------------------------------- edges


def _dependencies(
    step: Step[Any, Any], signature: Signature, known: Mapping[str, Step[Any, Any]]
) -> tuple[tuple[str, ...], list[str]]:
    """The steps that this one waits for, in the order of its signature; and what is wrong with their names."""
    found: dict[str, None] = {}
    faults = []
    named: list[tuple[str, Step[Any, Any] | str]] = [("over", step.over)] if step.over is not None else []
    named += [(f"parameter {p.name!r}", p.source) for p in signature.parameters if p.source is not None]
    named += [("depends_on", dep) for dep in step.depends_on]
    for where, target in named:
        slug = target.slug if isinstance(target, Step) else target
        if isinstance(target, Step) and target.flow is not step.flow:
            faults.append(f"{where} names {target!r}, which belongs to another flow")
        elif slug not in known:
            others = [s for s in known if s != step.slug]
            others += step.reserved if where.startswith("parameter") else ()
            faults.append(f"{where} names no step of this flow: {slug!r}{did_you_mean(slug, others)}")
        else:
            found[slug] = None
    faults += _condition_faults(step, [t.slug if isinstance(t, Step) else t for _, t in named])
    element = next((p for p in signature.parameters if p.role == "element"), None)
    if element is not None and element.name in known and element.name != step.slug:
        faults.append(
            f"parameter {element.name!r} is the element, but bears the name of a step: rename it, or write "
            f"@flow.map(over={element.name}) for a map over that step's list"
        )
    if step.step_type == "map" and step.over is None and step.depends_on:
        faults.append("a map waits for the step it maps over and for no other: name it by over=, not by depends_on=")
    elif step.step_type == "map" and len(found) > 1:
        faults.append(
            f'Map step "{step.slug}" can have at most one dependency, but {len(found)} were provided: '
            + ", ".join(found)
        )
    return tuple(found), faults


def _condition_faults(step: Step[Any, Any], depends_on: Sequence[str]) -> Iterator[str]:
    """Keys of its conditions that could never be met. Those of a flow that is data were checked with it, or it was
    stored by others, by their rules."""
    if isinstance(step, NamedStep):
        return
    for name, pattern in (("run_if", step.options.run_if), ("run_unless", step.options.run_unless)):
        yield from (f"{name}.{key}: {fault}" for key, fault in pattern_faults(depends_on, pattern or ()))


def _edge_faults(
    step: Step[Any, Any],
    signatures: Mapping[str, Signature],
    dependencies: Mapping[str, tuple[str, ...]],
    steps: Mapping[str, Step[Any, Any]],
) -> Iterator[str]:
    """What is wrong between a step and those it takes its values from."""
    signature = signatures[step.slug]
    for parameter, source in _edges(signature, steps):
        yield from _output_faults(parameter, source, signatures[source.slug])
    if step.step_type == "map" and len(dependencies[step.slug]) == 1:
        source = steps[dependencies[step.slug][0]]
        yield from _element_faults(signature, source, signatures[source.slug])


def _skip_faults(step: Step[Any, Any], signature: Signature, steps: Mapping[str, Step[Any, Any]]) -> Iterator[str]:
    for parameter, source in _edges(signature, steps):
        if may_be_skipped_alone(source.options) and not parameter.has_default:
            yield (
                f"parameter {parameter.name!r} needs a default: step {source.slug!r} may be skipped "
                "(or let this step be skipped with it: 'skip-cascade')"
            )


def _edges(signature: Signature, steps: Mapping[str, Step[Any, Any]]) -> Iterator[tuple[Parameter, Step[Any, Any]]]:
    return ((p, steps[p.source]) for p in signature.parameters if p.source is not None and p.source in steps)


def _annotation_faults(signature: Signature) -> Iterator[str]:
    """Annotations of values that cannot come from or go to JSON at all."""
    named = [("the result", signature.returns)]
    named += [(f"parameter {p.name!r}", p.annotation) for p in signature.parameters if p.role not in ("ctx", "deps")]
    for name, annotation in named:
        if fault := _unconvertible(annotation):
            yield f"{name}: {fault}"


def _unconvertible(annotation: Any) -> str | None:
    try:
        json_types.of(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        return f"{json_types.name(annotation)} cannot come from or go to JSON ({str(error).splitlines()[0]})"
    return None


def _output_faults(parameter: Parameter, source: Step[Any, Any], producer: Signature) -> Iterator[str]:
    given = json_types.of(producer.returns, produced=True)
    if source.step_type == "map":
        given = json_types.ARRAY
    if not json_types.overlap(given, json_types.of(parameter.annotation)):
        returned = json_types.name(producer.returns)
        returned = f"list[{returned}]" if source.step_type == "map" else returned
        yield (
            f"parameter '{parameter.name}: {json_types.name(parameter.annotation)}' cannot take what step "
            f"{source.slug!r} returns ({returned})"
        )


def _element_faults(signature: Signature, source: Step[Any, Any], producer: Signature) -> Iterator[str]:
    returned = json_types.name(producer.returns)
    if source.step_type == "map":
        items = json_types.of(producer.returns, produced=True)
        returned = f"list[{returned}]"
    else:
        if not json_types.overlap(json_types.of(producer.returns, produced=True), json_types.ARRAY):
            yield f"it maps over step {source.slug!r}, which returns no list ({returned})"
            return
        items = json_types.items_of(producer.returns)
    element = next((p for p in signature.parameters if p.role == "element"), None)
    if element is not None and not json_types.overlap(items, json_types.of(element.annotation)):
        yield (
            f"parameter '{element.name}: {json_types.name(element.annotation)}' cannot take the elements of step "
            f"{source.slug!r} ({returned})"
        )
