"""JSON and YAML texts as plain data: what JSON can say, and no more.

Refused, since they are more often mistakes (or attacks) than meant: keys given twice, keys that are no text, aliases,
tags, NaN. In YAML only `true`, `false` and `null` are no texts among words: `no`, `on` and dates are.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from pgflow.errors import InvalidInputError

#: Characters of a text that are read at most; YAML is read a hundred times slower than JSON.
_MOST_CHARACTERS = {"JSON": 10_000_000, "YAML": 1_000_000}


def parse(text: str) -> Any:
    """The data of a JSON or YAML text; raises InvalidInputError that says where it breaks off.

    parse('{"slug": "report"}') == parse("slug: report")
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"expected a JSON or YAML text, not {type(text).__name__}")
    language, read = ("JSON", _json) if text.lstrip().startswith(("{", "[")) else ("YAML", _yaml)
    if len(text) > (most := _MOST_CHARACTERS[language]):
        raise InvalidInputError(f"{len(text):,} characters of {language}: at most {most:,} are read")
    try:
        return read(text)
    except RecursionError:
        raise InvalidInputError("it is nested too deeply") from None


def strict_json(text: str) -> Any:
    """The data of a JSON text; raises InvalidInputError for what is refused, else what `json.loads` does."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _json(text: str) -> Any:
    try:
        return strict_json(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"no JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidInputError(f"the key {key!r} is given twice in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> Any:
    raise InvalidInputError(f"{name} is no JSON number")


def _yaml(text: str) -> Any:
    try:
        import yaml  # an extra
    except ModuleNotFoundError as error:
        raise InvalidInputError("no JSON object, and YAML needs pyyaml: run `pip install 'py-pgflow[yaml]'`") from error
    try:
        return yaml.load(text, _yaml_loader())  # noqa: S506  # a safe loader, and stricter
    except yaml.YAMLError as error:
        raise InvalidInputError(f"no YAML: {' '.join(str(error).split())}") from error


@cache
def _yaml_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # has no types
        """SafeLoader with the plain words of JSON, without aliases and double keys."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # filled below

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise InvalidInputError(f"line {mark.line + 1}: aliases are not allowed: write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            seen: set[str] = set()
            for key_node, _ in node.value:
                line = key_node.start_mark.line + 1
                if key_node.tag != "tag:yaml.org,2002:str":
                    raise InvalidInputError(f"line {line}: a key must be a text: put it in quotes")
                if key_node.value in seen:
                    raise InvalidInputError(f"line {line}: the key {key_node.value!r} is given twice")
                seen.add(key_node.value)
            mapping: dict[str, Any] = super().construct_mapping(node, deep=deep)
            return mapping

    words = {
        "null": (r"^(?:null|~|)$", ["n", "~", ""]),
        "bool": (r"^(?:true|false)$", ["t", "f"]),
        "int": (r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
        "float": (r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", list("-0123456789")),
    }
    for tag, (pattern, beginnings) in words.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), beginnings)
    return Loader
