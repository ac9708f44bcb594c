"""A flow as the SQL core sees it: its shape, and the statements that store it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgflow.flow.step import Step, StepOptions

if TYPE_CHECKING:
    from pgflow.flow.flow import Flow

#: Our option names and the contract's, in shapes and in SQL.
_OPTIONS = {"max_attempts": "maxAttempts", "base_delay": "baseDelay", "timeout": "timeout", "start_delay": "startDelay"}


def of(flow: Flow[Any, Any]) -> dict[str, Any]:
    """The shape as JSON data; keys as the contract names them, options only where set."""
    shape: dict[str, Any] = {"steps": [_step_shape(step) for step in flow.steps.values()]}
    if options := _given(flow):
        shape["options"] = options
    return shape


def _step_shape(step: Step[Any, Any]) -> dict[str, Any]:
    options = step.options
    shape: dict[str, Any] = {
        "slug": step.slug,
        "stepType": step.step_type,
        "dependencies": sorted(step.dependencies),
        "whenUnmet": options.when_unmet,
        "whenExhausted": options.when_exhausted,
        "requiredInputPattern": _pattern(options.run_if),
        "forbiddenInputPattern": _pattern(options.run_unless),
    }
    if given := _given(options):
        shape["options"] = given
    if options.initial_tasks is not None:
        shape["initialTasks"] = options.initial_tasks
    return shape


def _pattern(pattern: dict[str, Any] | None) -> dict[str, Any]:
    return {"defined": False} if pattern is None else {"defined": True, "value": pattern}


def _given(holder: Flow[Any, Any] | StepOptions) -> dict[str, int]:
    return {theirs: value for ours, theirs in _OPTIONS.items() if (value := getattr(holder, ours, None)) is not None}


def sql(flow: Flow[Any, Any]) -> str:
    """One statement per line, to be run in this order."""
    lines = [_call("create_flow", flow_slug=flow.slug, **_numbers(flow))]
    for step in flow.steps.values():
        options = step.options
        arguments: dict[str, Any] = {"flow_slug": flow.slug, "step_slug": step.slug}
        if step.dependencies:
            arguments["deps_slugs"] = list(step.dependencies)
        arguments |= _numbers(options)
        if step.step_type == "map":
            arguments["step_type"] = "map"
        if options.run_if is not None:
            arguments["required_input_pattern"] = options.run_if
        if options.run_unless is not None:
            arguments["forbidden_input_pattern"] = options.run_unless
        if options.when_unmet != "skip":
            arguments["when_unmet"] = options.when_unmet
        if options.when_exhausted != "fail":
            arguments["when_exhausted"] = options.when_exhausted
        lines.append(_call("add_step", **arguments))
        if options.initial_tasks is not None:
            lines.append(  # every value is a quoted literal
                f"update pgflow.steps set initial_tasks = {options.initial_tasks} "
                f"where flow_slug = {_literal(flow.slug)} and step_slug = {_literal(step.slug)};"  # literals are quoted
            )
    return "\n".join(lines) + "\n"


def _numbers(holder: Flow[Any, Any] | StepOptions) -> dict[str, int]:
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
