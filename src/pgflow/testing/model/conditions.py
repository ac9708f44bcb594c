"""When a step's conditions are met: jsonb's containment, in plain Python."""

from __future__ import annotations

from typing import Any


def is_met(data: Any, required: Any, forbidden: Any) -> bool:
    """Whether data contains what is required and does not contain what is forbidden; None asks for nothing."""
    return (required is None or contains(data, required)) and (forbidden is None or not contains(data, forbidden))


def contains(data: Any, pattern: Any) -> bool:
    """PostgreSQL's `data @> pattern`, but for its exception that a top-level array contains a bare scalar.

    contains({"a": [1, 2], "b": 0}, {"a": [2]})      # True
    """
    if isinstance(data, dict) and isinstance(pattern, dict):
        return all(key in data and contains(data[key], value) for key, value in pattern.items())
    if isinstance(data, list) and isinstance(pattern, list):
        return all(any(contains(item, wanted) for item in data) for wanted in pattern)
    # the types too: to Python, True == 1
    return json_type(data) == json_type(pattern) and bool(data == pattern)


def json_type(value: Any) -> str:
    """What jsonb_typeof says of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
