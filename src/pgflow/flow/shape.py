"""A flow as the SQL core sees it: its shape, and the statements that store it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgflow.flow.spec import FlowSpec, StepSpec

#: Our option names and the contract's, in shapes and in SQL.
_OPTIONS = {"max_attempts": "maxAttempts", "base_delay": "baseDelay", "timeout": "timeout", "start_delay": "startDelay"}
#: Columns of ours that add_step has no parameter for, by their names in shapes.
_OUR_COLUMNS = {"initial_tasks": "initialTasks", "handler": "handler"}


def of(spec: FlowSpec) -> dict[str, Any]:
    """The shape as JSON data; keys as the contract names them, options and what is ours only where set."""
    shape: dict[str, Any] = {"steps": [step_shape(step) for step in spec.steps_in_order]}
    if given := flow_options(spec):
        shape["options"] = given
    return shape


def step_shape(step: StepSpec) -> dict[str, Any]:
    """A step as it stands in a shape."""
    shape: dict[str, Any] = {
        "slug": step.slug,
        "stepType": step.step_type,
        "dependencies": sorted(step.depends_on),
        "whenUnmet": step.when_unmet,
        "whenExhausted": step.when_exhausted,
        "requiredInputPattern": _pattern(step.run_if),
        "forbiddenInputPattern": _pattern(step.run_unless),
    }
    if given := _given(step, _OPTIONS):
        shape["options"] = given
    return shape | _given(step, _OUR_COLUMNS)


def flow_options(spec: FlowSpec) -> dict[str, Any]:
    """The options that a flow sets, as they stand in a shape."""
    return _given(spec, _OPTIONS)


def _pattern(pattern: dict[str, Any] | None) -> dict[str, Any]:
    return {"defined": False} if pattern is None else {"defined": True, "value": pattern}


def _given(holder: FlowSpec | StepSpec, names: Mapping[str, str]) -> dict[str, Any]:
    return {theirs: value for ours, theirs in names.items() if (value := getattr(holder, ours, None)) is not None}


# ---------------------------------------------------------------------------------------- and back


def step_fields(shape: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a StepSpec, from a step of a shape."""
    return {
        "slug": shape["slug"],
        "step_type": shape["stepType"],
        "depends_on": tuple(shape["dependencies"]),
        "when_unmet": shape["whenUnmet"],
        "when_exhausted": shape["whenExhausted"],
        "run_if": shape["requiredInputPattern"].get("value"),
        "run_unless": shape["forbiddenInputPattern"].get("value"),
        **options(shape),
        **{ours: shape.get(theirs) for ours, theirs in _OUR_COLUMNS.items()},
    }


def options(shape: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a shape, or of one of its steps, under our names."""
    given = shape.get("options", {})
    return {ours: given[theirs] for ours, theirs in _OPTIONS.items() if theirs in given}


# ---------------------------------------------------------------------------------------- as statements


def sql(spec: FlowSpec) -> str:
    """One statement per line, to be run in this order."""
    lines = [_call("create_flow", flow_slug=spec.slug, **_numbers(spec))]
    for step in spec.steps_in_order:
        arguments: dict[str, Any] = {"flow_slug": spec.slug, "step_slug": step.slug}
        if step.depends_on:
            arguments["deps_slugs"] = list(step.depends_on)
        arguments |= _numbers(step)
        if step.step_type == "map":
            arguments["step_type"] = "map"
        if step.run_if is not None:
            arguments["required_input_pattern"] = step.run_if
        if step.run_unless is not None:
            arguments["forbidden_input_pattern"] = step.run_unless
        if step.when_unmet != "skip":
            arguments["when_unmet"] = step.when_unmet
        if step.when_exhausted != "fail":
            arguments["when_exhausted"] = step.when_exhausted
        lines.append(_call("add_step", **arguments))
        lines += (
            f"update pgflow.steps set {column} = {_literal(value)} "
            f"where flow_slug = {_literal(spec.slug)} and step_slug = {_literal(step.slug)};"
            for column in _OUR_COLUMNS
            if (value := getattr(step, column)) is not None
        )
    return "\n".join(lines) + "\n"


def mark(flow_slug: str) -> str:
    """The statement that marks a flow as one that is data, and tells workers."""
    return f"select pgflow._announce_flow({_literal(flow_slug)});\n"


def _numbers(holder: FlowSpec | StepSpec) -> dict[str, int]:
    return {ours: value for ours in _OPTIONS if (value := getattr(holder, ours, None)) is not None}


def _call(function: str, **arguments: Any) -> str:
    given = ", ".join(f"{name} => {_literal(value)}" for name, value in arguments.items())
    return f"select pgflow.{function}({given});"


def _literal(value: Any) -> str:
    """A value as an SQL literal; a backslash means itself (standard_conforming_strings)."""
    match value:
        case int():
            return str(value)
        case list():
            return f"array[{', '.join(map(_literal, value))}]"
        case dict():
            return _literal(json.dumps(value, ensure_ascii=False)) + "::jsonb"
        case _:
            return "'" + str(value).replace("'", "''") + "'"
