"""JSON <-> Python values, by annotation; each value is decoded and validated in one pass.

    encode({"a": 1})                          # b'{"a":1}'
    decode(b'"2026-01-01"', datetime.date)    # datetime.date(2026, 1, 1)

What has no annotation travels as plain JSON types. Models, dataclasses, dates, UUIDs, decimals and enums are written
as pydantic writes them, a range as the list of its numbers; what JSON or PostgreSQL cannot hold (sets, bytes, NaN,
NUL characters …) is refused, with the place in the value.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json, to_jsonable_python

from pgflow.errors import InvalidInputError

_WRITTEN_BY_PYDANTIC = (BaseModel, datetime, date, time, timedelta, UUID, Decimal, Enum, PurePath)
#: How a value that is no JSON by itself is written: as its JSON parts.
_Writer: TypeAlias = Callable[[Any], Any]
#: A NUL escape that is not itself escaped: PostgreSQL's jsonb cannot hold the character.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: What PostgreSQL's jsonb holds at most (JENTRY_OFFLENMASK in its jsonb.h).
MOST_BYTES = 0x0FFFFFFF


def encode(value: Any, annotation: Any = Any) -> bytes:
    """A value as JSON text, checked against its annotation.

    Raises InvalidInputError that names the place of what does not fit.
    """
    try:
        raw = _plain(value) if annotation is Any else _annotated(value, annotation)
    except ValidationError as error:
        raise InvalidInputError(explain(error)) from error
    except RecursionError as error:
        raise InvalidInputError("not JSON: it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"not JSON: {_first_fault(value, annotation) or error}") from error
    if len(raw) > MOST_BYTES:  # sent as it is, it could cost the connection, again and again
        raise InvalidInputError(
            f"{len(raw):,} bytes of JSON are too many for PostgreSQL, which "
            f"holds {MOST_BYTES:,}: keep it elsewhere, and pass on where"
        )
    if b"\\u0000" in raw and _NUL.search(raw):
        where = _first_fault(value, annotation) or "NUL character in a text"
        raise InvalidInputError(f"PostgreSQL cannot hold it: {where}")
    return raw


def decode(raw: bytes, annotation: Any = Any) -> Any:
    """A value from JSON text, validated against its annotation; raises InvalidInputError if it does not fit."""
    try:
        return from_json(raw) if annotation is Any else adapter(annotation).validate_json(raw)
    except ValidationError as error:
        raise InvalidInputError(explain(error)) from error
    except ValueError as error:
        raise InvalidInputError(f"JSON that cannot be read: {error}") from error


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """pydantic's converter for an annotation, made once.

    Raises pydantic's errors where the annotation cannot come from JSON.
    """
    if annotation is range:
        annotation = list[int]
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
    valid = convert.validate_python(value)
    raw = convert.dump_json(valid, warnings="error")
    if b"NaN" in raw or b"Infinity" in raw:
        json.loads(raw, parse_constant=_refuse_constant)
    if b"null" in raw:
        _refuse_hidden_nan(convert, valid)
    return raw


def _refuse_hidden_nan(convert: TypeAdapter[Any], valid: Any) -> None:
    """Models and pydantic's dataclasses do not heed an adapter's config: a null of theirs may have been a NaN."""
    json.dumps(convert.dump_python(valid, warnings=False), allow_nan=False, skipkeys=True, default=_ignore)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _ignore(_: Any) -> None:
    return None


def _plain(value: Any) -> bytes:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_default)
    return text.encode()


def _default(value: Any) -> Any:
    if isinstance(value, _WRITTEN_BY_PYDANTIC) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _written_by_pydantic(value)
    if isinstance(value, range):
        return list(value)
    raise TypeError(f"a value of type {type(value).__name__} is no JSON")


def _written_by_pydantic(value: Any) -> Any:
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        _refuse_hidden_nan(adapter(Any), value)
    return to_jsonable_python(value, inf_nan_mode="constants")


def _first_fault(value: Any, annotation: Any) -> str | None:
    """Where in a value something is that JSON or PostgreSQL cannot hold; only looked for after a failure."""
    writer = _default if annotation is Any else _written_by_pydantic
    try:
        return next(_faults(value, "$", writer), None)
    except RecursionError:
        return None


def _faults(value: Any, path: str, write: _Writer) -> Iterator[str]:
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
                yield from _key_faults(key, path, write)
                yield from _faults(item, f"{path}.{key}", write)
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _faults(item, f"{path}[{index}]", write)
        case _ if (parts := _fields(value)) is not None:
            yield from _faults(parts, path, _written_by_pydantic)
        case _:
            try:
                written = write(value)
            except (TypeError, ValueError) as error:
                yield f"{error}, at {path}"
            else:
                yield from _faults(written, path, write)


def _key_faults(key: Any, path: str, write: _Writer) -> Iterator[str]:
    if isinstance(key, str):
        yield from _faults(key, f"{path} (key)", write)
    elif write is _default and not isinstance(key, int | float | None):
        yield f"a key of type {type(key).__name__}, at {path}"


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a model or dataclass by name; None for anything else."""
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None
