"""JSON <-> Python values, by annotation; each value is decoded and validated in one pass.

    encode({"a": 1})                          # b'{"a":1}'
    decode(b'"2026-01-01"', datetime.date)    # datetime.date(2026, 1, 1)

What has no annotation travels as plain JSON types. Models, dataclasses, dates, UUIDs, decimals and enums are written
as pydantic writes them; what JSON or PostgreSQL cannot hold (sets, bytes, NaN, NUL characters …) is refused, with
the place in the value.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_jsonable_python

from pgflow.errors import InvalidInputError

_WRITTEN_BY_PYDANTIC = (BaseModel, datetime, date, time, timedelta, UUID, Decimal, Enum, PurePath)
#: A NUL escape that is not itself escaped: PostgreSQL's jsonb cannot hold the character.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def encode(value: Any, annotation: Any = Any) -> bytes:
    """A value as JSON text, checked against its annotation.

    Raises InvalidInputError that names the place of what does not fit.
    """
    try:
        raw = _plain(value) if annotation is Any else _annotated(value, annotation)
    except ValidationError as error:
        raise InvalidInputError(explain(error)) from error
    except (TypeError, ValueError, RecursionError, PydanticSerializationError) as error:
        where = next(_faults(value, "$"), None) or str(error)
        raise InvalidInputError(f"not JSON: {where}") from error
    if b"\\u0000" in raw and _NUL.search(raw):
        where = next(_faults(value, "$"), "NUL character in a text")
        raise InvalidInputError(f"PostgreSQL cannot hold it: {where}")
    return raw


def decode(raw: bytes, annotation: Any = Any) -> Any:
    """A value from JSON text, validated against its annotation; raises InvalidInputError if it does not fit."""
    if annotation is Any:
        return from_json(raw)
    try:
        return adapter(annotation).validate_json(raw)
    except ValidationError as error:
        raise InvalidInputError(explain(error)) from error


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """pydantic's converter for an annotation, made once.

    Raises pydantic's errors where the annotation cannot come from JSON.
    """
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an unhashable annotation: Annotated with a list, say
        return _make_adapter(annotation)


def _make_adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        # NaN must not become null behind the user's back: as a constant, PostgreSQL and we refuse it
        return TypeAdapter(annotation, config=ConfigDict(ser_json_inf_nan="constants"))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)


_cached_adapter = lru_cache(maxsize=None)(_make_adapter)


def explain(error: ValidationError) -> str:
    """pydantic's message in one line: each field with what is wrong with it."""
    parts = []
    for item in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, item["loc"]))
        got = repr(item["input"])
        got = got if len(got) <= 60 else got[:57] + "..."
        parts.append(f"{where + ': ' if where else ''}{item['msg']} (got {got})")
    return "; ".join(parts)


def _annotated(value: Any, annotation: Any) -> bytes:
    convert = adapter(annotation)
    raw = convert.dump_json(convert.validate_python(value), warnings="error")
    if b"NaN" in raw or b"Infinity" in raw:
        json.loads(raw, parse_constant=_refuse_constant)
    return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _plain(value: Any) -> bytes:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_default)
    return text.encode()


def _default(value: Any) -> Any:
    if isinstance(value, _WRITTEN_BY_PYDANTIC) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return to_jsonable_python(value, inf_nan_mode="constants")
    raise TypeError(f"a value of type {type(value).__name__} is no JSON")


def _faults(value: Any, path: str) -> Iterator[str]:
    """Where in a value something is that JSON or PostgreSQL cannot hold; only looked for after a failure."""
    match value:
        case str():
            if "\0" in value:
                yield f"NUL character in the text at {path}"
            elif any("\ud800" <= c <= "\udfff" for c in value):
                yield f"half a surrogate pair in the text at {path}"
        case None | bool() | int():
            return
        case float():
            if not math.isfinite(value):
                yield f"{value} at {path}"
        case Mapping():
            for key, item in value.items():
                yield from _faults(key, f"{path} (key)")
                yield from _faults(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _faults(item, f"{path}[{index}]")
        case _:
            try:
                yield from _faults(_default(value), path)
            except TypeError as error:
                yield f"{error}, at {path}"
