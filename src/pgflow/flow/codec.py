"""JSON <-> Python values, by annotation; each value is decoded and validated in one pass.

    encode({"a": 1})                          # b'{"a":1}'
    decode(b'"2026-01-01"', datetime.date)    # datetime.date(2026, 1, 1)

What has no annotation travels as plain JSON types. Models, dataclasses, dates, UUIDs, decimals and enums are written
as pydantic writes them (fields by their aliases, as they are read), a range as the list of its numbers; what JSON or
PostgreSQL cannot hold (sets, NaN, NUL characters …) is refused, with the place in the value. Bytes are base64 text
(RFC 4648, 5: the alphabet that is safe in URLs) where the annotation says bytes, and refused elsewhere, since they
would come back as another type.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticUserError,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import from_json, to_json, to_jsonable_python
from typing_extensions import TypeAliasType

from pgflow.errors import InvalidInputError

# NaN must not become null behind the user's back: as a constant, PostgreSQL and we refuse it
_CONFIG = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")
_WRITTEN_BY_PYDANTIC = (BaseModel, datetime, date, time, timedelta, UUID, Decimal, Enum, PurePath)
#: How a value that is no JSON by itself is written: as its JSON parts.
_Writer: TypeAlias = Callable[[Any], Any]
_BYTES_LIKE = (bytes, bytearray)
_SECRETS = (SecretStr, SecretBytes, Secret)
#: How pydantic writes a secret.
_MASK = b"**********"
_BYTES = "bytes travel as base64 text, and only where an annotation says bytes (`-> bytes`, `flow_input: bytes`)"
_BYTES_OF_MODELS = (
    "bytes that are no UTF-8 need a model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
)
#: A NUL escape that is not itself escaped: PostgreSQL's jsonb cannot hold the character.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: What PostgreSQL's jsonb holds at most (JENTRY_OFFLENMASK in its jsonb.h).
MOST_BYTES = 0x0FFFFFFF


def encode(value: Any, annotation: Any = Any) -> bytes:
    """A value as JSON text, checked against its annotation.

    Raises InvalidInputError that names the place of what does not fit.
    """
    if annotation is Any:
        return _storable(value, _plain, _default)
    return _storable(value, partial(_annotated, annotation), _written_by_pydantic)


def encode_for(value: Any, annotations: Iterable[Any]) -> bytes:
    """A value as JSON text that is not checked, for handlers that read it by one of these annotations: bytes are fine
    where that says bytes.

    Raises InvalidInputError as `encode` does.
    """
    try:
        return encode(value)
    except InvalidInputError:
        raw = _storable(value, _plain_with_bytes, _default_with_bytes)  # raises what is wrong beside bytes
        if not any(_brings_bytes_back(raw, value, annotation) for annotation in annotations):
            raise
        return raw


def _storable(value: Any, encoded: Callable[[Any], bytes], write: _Writer) -> bytes:
    """What PostgreSQL can hold of a value, or why it cannot; `write` tells where in it something is wrong."""
    try:
        raw = encoded(value)
    except ValidationError as error:
        raise InvalidInputError(explain(error)) from error
    except RecursionError as error:
        raise InvalidInputError("not JSON: it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"not JSON: {_first_fault(value, write) or error}") from error
    if len(raw) > MOST_BYTES:  # sent as it is, it could cost the connection, again and again
        raise InvalidInputError(
            f"{len(raw):,} bytes of JSON are too many for PostgreSQL, which "
            f"holds {MOST_BYTES:,}: keep it elsewhere, and pass on where"
        )
    if b"\\u0000" in raw and _NUL.search(raw):
        where = _first_fault(value, write) or "NUL character in a text"
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
        return make_adapter(annotation)


def make_adapter(annotation: Any) -> TypeAdapter[Any]:
    """The same, not kept."""
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        # a dataclass or TypedDict without a config of its own heeds ours within something else only
        value: Any = TypeAliasType("Value", annotation)
        return TypeAdapter(value, config=_CONFIG)


_cached_adapter = lru_cache(maxsize=None)(make_adapter)


def explain(error: ValidationError) -> str:
    """pydantic's message in one line: each field with what is wrong with it."""
    parts = []
    for item in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, item["loc"]))
        got = repr(item["input"])
        got = got if len(got) <= 60 else got[:57] + "..."
        parts.append(f"{where + ': ' if where else ''}{item['msg']} (got {got})")
    return "; ".join(parts)


def _annotated(annotation: Any, value: Any) -> bytes:
    convert = adapter(annotation)
    valid = convert.validate_python(value)
    raw = convert.dump_json(valid, by_alias=True, warnings="error")
    if b"NaN" in raw or b"Infinity" in raw:
        json.loads(raw, parse_constant=_refuse_constant)
    if b"null" in raw or _MASK in raw:
        _refuse_hidden(convert, valid)
    if _has_any(convert) and (place := _untyped_bytes(convert, valid, raw)):
        raise ValueError(f"{_BYTES}, at {place}")
    return raw


def _refuse_hidden(convert: TypeAdapter[Any], valid: Any) -> None:
    """Models and pydantic's dataclasses do not heed an adapter's config: a null of theirs may have been a NaN. And a
    secret is written as asterisks, which whoever reads them would take for it."""
    parts = convert.dump_python(valid, warnings=False)
    json.dumps(parts, allow_nan=False, skipkeys=True, default=_refuse_secret)


def _refuse_secret(part: Any) -> None:
    if isinstance(part, _SECRETS):
        raise TypeError(f"a {type(part).__name__} would be stored as asterisks: pass on where it is kept instead")


# ---------------------------------------------------------------------------------------- bytes


def _brings_bytes_back(raw: bytes, value: Any, annotation: Any) -> bool:
    convert = adapter(annotation)
    try:
        read = convert.validate_json(raw)
    except Exception:  # a user's validator may raise anything
        return False
    return not any(_bytes_not_in(_parts(convert, read), _parts(adapter(Any), value), "$"))


def _untyped_bytes(convert: TypeAdapter[Any], value: Any, raw: bytes) -> str | None:
    """Where a value has bytes, written as base64, that whoever reads it by the same annotation takes for a text."""
    with suppress(TypeError, ValueError):  # what only its annotation can write
        if to_json(value, bytes_mode="hex") == raw:  # much the quickest way to see that there are none
            return None
    given = _parts(convert, value)
    if not _holds_bytes(given):
        return None
    try:
        read = convert.validate_json(raw)
    except ValidationError:  # what is written is not what is read: computed fields, say
        return None
    return next(_bytes_not_in(_parts(convert, read), given, "$"), None)


def _parts(convert: TypeAdapter[Any], value: Any) -> Any:
    return convert.dump_python(value, by_alias=True, warnings=False)


def _holds_bytes(parts: Any) -> bool:
    found = []

    def note(item: Any) -> Any:
        if isinstance(item, _BYTES_LIKE):
            found.append(item)
        return list(item) if isinstance(item, set | frozenset) else None

    json.dumps(parts, skipkeys=True, default=note)
    return bool(found)


def _bytes_not_in(read: Any, given: Any, path: str) -> Iterator[str]:
    match given:
        case bytes() | bytearray():
            if not isinstance(read, _BYTES_LIKE):
                yield path
        case Mapping():
            fields = read if isinstance(read, Mapping) else {}
            for key, item in given.items():
                yield from _bytes_not_in(fields.get(key), item, f"{path}.{key}")
        case list() | tuple():
            items = read if isinstance(read, list | tuple) else ()
            for index, (item, other) in enumerate(zip_longest(given, items)):
                yield from _bytes_not_in(other, item, f"{path}[{index}]")


@lru_cache(maxsize=1000)
def _has_any(convert: TypeAdapter[Any]) -> bool:
    """Whether an annotation leaves a part of its values open."""
    return _is_any_in(convert.core_schema)


def _is_any_in(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("type") == "any" or any(map(_is_any_in, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_is_any_in, schema))


# ---------------------------------------------------------------------------------------- plain values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _plain(value: Any, default: _Writer | None = None) -> bytes:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=default or _default)
    return text.encode()


def _plain_with_bytes(value: Any) -> bytes:
    return _plain(value, _default_with_bytes)


def _default_with_bytes(value: Any) -> Any:
    return _written_by_pydantic(value) if isinstance(value, _BYTES_LIKE) else _default(value)


def _default(value: Any) -> Any:
    if isinstance(value, _WRITTEN_BY_PYDANTIC) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _written_by_pydantic(value)
    if isinstance(value, range):
        return list(value)
    if isinstance(value, _BYTES_LIKE):
        raise TypeError(_BYTES)
    raise TypeError(f"a value of type {type(value).__name__} is no JSON")


def _written_by_pydantic(value: Any) -> Any:
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        _refuse_hidden(adapter(Any), value)
    return to_jsonable_python(value, inf_nan_mode="constants", bytes_mode="base64")


def _written_as_utf8(value: Any) -> Any:
    """As a model writes its fields if its config does not say how bytes are written."""
    if isinstance(value, _BYTES_LIKE):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(_BYTES_OF_MODELS) from None
    return _written_by_pydantic(value)


def _first_fault(value: Any, write: _Writer) -> str | None:
    """Where in a value something is that JSON or PostgreSQL cannot hold; only looked for after a failure."""
    try:
        return next(_faults(value, "$", write), None)
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
            yield from _faults(parts, path, _written_as_utf8 if _writes_utf8(value) else _written_by_pydantic)
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
    elif write in (_default, _default_with_bytes) and not isinstance(key, int | float | None):
        yield f"a key of type {type(key).__name__}, at {path}"


def _writes_utf8(value: Any) -> bool:
    """Whether a model, or a dataclass of pydantic's, has a config of its own that leaves bytes to the default."""
    name = "model_config" if isinstance(value, BaseModel) else "__pydantic_config__"
    config: ConfigDict | None = getattr(value, name, None)
    return config is not None and config.get("ser_json_bytes", "utf8") == "utf8"


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a model or dataclass by name; None for anything else."""
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None
