"""Which JSON types an annotation stands for, read from pydantic's JSON schema: enough to see that two never meet."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic.errors import PydanticInvalidForJsonSchema

from pgflow.flow import codec

#: Names as in JSON Schema, 'number' also for integers; None: could be anything.
JsonTypes: TypeAlias = frozenset[str] | None

ARRAY: JsonTypes = frozenset({"array"})


def of(annotation: Any, *, produced: bool = False) -> JsonTypes:
    """The JSON types of an annotation, as what a handler takes or (`produced`) what it returns.

    of(int)                # frozenset({'number'})
    of(str | None)         # frozenset({'string', 'null'})

    Raises pydantic's errors for an annotation that has no JSON form.
    """
    if annotation is Any:
        return None
    schema = _schema(annotation, produced=produced)
    return _types(schema, schema.get("$defs", {}))


def items_of(annotation: Any) -> JsonTypes:
    """The JSON types of the elements of what a handler returns."""
    if annotation is Any:
        return None
    schema = _schema(annotation, produced=True)
    definitions = schema.get("$defs", {})
    schema = _resolved(schema, definitions)
    items = schema.get("items")
    return _types(items, definitions) if isinstance(items, dict) else None


def overlap(given: JsonTypes, taken: JsonTypes) -> bool:
    """Whether some value could be both."""
    return given is None or taken is None or bool(given & taken)


def name(annotation: Any) -> str:
    """An annotation as a person wrote it."""
    if annotation is None:
        return "None"
    return (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )


def _schema(annotation: Any, *, produced: bool) -> dict[str, Any]:
    adapter = codec.adapter(annotation)
    try:
        return adapter.json_schema(mode="serialization" if produced else "validation")
    except PydanticInvalidForJsonSchema:
        return {}  # convertible, but with no schema of its own: anything


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _types(schema: dict[str, Any], definitions: dict[str, Any]) -> JsonTypes:
    schema = _resolved(schema, definitions)
    if "type" in schema:
        given = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return frozenset("number" if t == "integer" else t for t in given)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            parts = [_types(part, definitions) for part in schema[key]]
            return None if any(part is None for part in parts) else frozenset().union(*(p for p in parts if p))
    return None
