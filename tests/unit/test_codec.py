"""JSON <-> Python values, by annotation."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from typing_extensions import TypedDict

from pgflow.errors import InvalidInputError
from pgflow.flow.codec import decode, encode, encode_for
from tests.support import value as db_value


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Model(BaseModel):
    day: date
    price: Decimal


@dataclass
class Point:
    x: float
    more: Any = None


@pydantic.dataclasses.dataclass
class PydanticPoint:
    x: float


class Row(TypedDict):
    when: datetime
    data: bytes


class Loose(BaseModel):
    x: float = 0.0
    more: Any = None


@dataclass
class Blob:
    data: bytes
    more: list[bytes] = field(default_factory=list)


class Utf8Model(BaseModel):
    data: bytes


@pydantic.dataclasses.dataclass
class Utf8Dataclass:
    data: list[bytes]


class Base64Model(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int


class Aliased(BaseModel):
    first_name: str = Field(alias="firstName")


class Login(BaseModel):
    password: SecretStr


NAN = math.nan
BYTES = b"\xff\x00\x89PNG\xfb\xef\xbe"
BYTES_ARE_ANNOTATED = (
    "bytes travel as base64 text, and only where an annotation says bytes (`-> bytes`, `flow_input: bytes`)"
)
BYTES_ARE_CONFIGURED = (
    "bytes that are no UTF-8 need a model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
)
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


def refusal(value: Any, annotation: Any = Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        encode(value, annotation)
    return str(caught.value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


# ---------------------------------------------------------------------------------------- round trips


@given(json_values)
def test_json_values_come_back_as_they_were(value: Any):
    assert decode(encode(value)) == value
    assert repr(decode(encode(value))) == repr(value)  # also tells 1 from 1.0 and True


@given(json_values)
def test_an_annotation_of_any_part_does_not_change_json_values(value: Any):
    assert decode(encode([value], list[Any]), list[Any]) == [value]
    assert json.loads(encode({"x": value}, dict[str, Any])) == json.loads(encode({"x": value}))


@pytest.mark.parametrize(
    ("annotation", "value", "raw"),
    [
        (Model, Model(day=date(2026, 1, 2), price=Decimal("1.10")), b'{"day":"2026-01-02","price":"1.10"}'),
        (Point, Point(1.5, [1]), b'{"x":1.5,"more":[1]}'),
        (Row, {"when": WHEN, "data": b"ab\n"}, b'{"when":"2026-01-02T03:04:05.678901Z","data":"YWIK"}'),
        (datetime, WHEN, b'"2026-01-02T03:04:05.678901Z"'),
        (date, date(2026, 1, 2), b'"2026-01-02"'),
        (time, time(3, 4), b'"03:04:00"'),
        (timedelta, timedelta(hours=1, seconds=2), b'"PT1H2S"'),
        (UUID, UUID(int=7), b'"00000000-0000-0000-0000-000000000007"'),
        (Decimal, Decimal("0.1000"), b'"0.1000"'),
        (Colour, Colour.RED, b'"red"'),
        (Level, Level.HIGH, b"3"),
        (bytes, BYTES, b'"_wCJUE5H----"'),
        (bytes, b"plain", b'"cGxhaW4="'),
        (bytes | None, BYTES, b'"_wCJUE5H----"'),
        (list[bytes], [BYTES, b""], b'["_wCJUE5H----",""]'),
        (dict[str, bytes | int], {"a": BYTES, "b": 1}, b'{"a":"_wCJUE5H----","b":1}'),
        (Blob, Blob(BYTES), b'{"data":"_wCJUE5H----","more":[]}'),
        (list[Blob], [Blob(BYTES, [b"ab"])], b'[{"data":"_wCJUE5H----","more":["YWI="]}]'),
        (Base64Model, Base64Model(data=BYTES), b'{"data":"_wCJUE5H----"}'),
        (tuple[bytes, Any], (BYTES, "x"), b'["_wCJUE5H----","x"]'),
        (Utf8Model, Utf8Model(data=b"plain"), b'{"data":"plain"}'),
        (Aliased, Aliased(firstName="Ada"), b'{"firstName":"Ada"}'),
        (list[Aliased], [Aliased(firstName="Ada")], b'[{"firstName":"Ada"}]'),
        (Path, Path("/tmp/x"), b'"/tmp/x"'),  # noqa: S108
        (set[int], {1}, b"[1]"),
        (tuple[int, str], (1, "a"), b'[1,"a"]'),
        (dict[UUID, list[Model]], {UUID(int=1): []}, b'{"00000000-0000-0000-0000-000000000001":[]}'),
        (int | None, None, b"null"),
        (list[Model | int], [1], b"[1]"),
        (int, 10**4000, b"1" + b"0" * 4000),
    ],
)
def test_annotated_values_cross_both_ways(annotation: Any, value: Any, raw: bytes):
    assert encode(value, annotation) == raw
    assert decode(raw, annotation) == value


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (Model(day=date(2026, 1, 2), price=Decimal("1.10")), b'{"day":"2026-01-02","price":"1.10"}'),
        ([Point(1.0)], b'[{"x":1.0,"more":null}]'),
        ([Aliased(firstName="Ada")], b'[{"firstName":"Ada"}]'),
        ({"when": WHEN}, b'{"when":"2026-01-02T03:04:05.678901Z"}'),
        ((UUID(int=7),), b'["00000000-0000-0000-0000-000000000007"]'),
        (Decimal("0.10"), b'"0.10"'),
        ([Colour.RED, Level.HIGH], b'["red",3]'),
        (timedelta(seconds=2), b'"PT2S"'),
        (range(1, 4), b"[1,2,3]"),
        ({1: "a", None: "b"}, b'{"1":"a","null":"b"}'),
        ("ü ☃ 𝄞 \\u0000", '"ü ☃ 𝄞 \\\\u0000"'.encode()),
        ([True, 0, 0.0, "", None, [], {}], b'[true,0,0.0,"",null,[],{}]'),
        (10**4000, b"1" + b"0" * 4000),
    ],
)
def test_values_without_an_annotation_are_written_as_pydantic_writes_them(value: Any, raw: bytes):
    assert encode(value) == raw


def test_a_range_is_a_list_of_its_numbers():
    assert encode(range(3)) == encode(range(3), range) == encode(range(3), list[int]) == b"[0,1,2]"
    assert decode(b"[0,1,2]", range) == [0, 1, 2]


def test_big_integers_keep_every_digit():
    big = 2**200 + 1
    assert decode(encode({"n": big})) == {"n": big}
    assert decode(encode([big], list[int]), list[int]) == [big]


def test_a_model_of_other_class_with_fitting_fields_is_accepted():
    class Other(BaseModel):
        n: int
        more: str = ""

    assert decode(encode(Other(n=1)), Loose) == Loose(more="")


def test_bytes_may_be_written_in_either_alphabet_of_base64():
    for raw in (b'"-_8="', b'"+/8="', b'"-_8"'):
        assert decode(raw, bytes) == b"\xfb\xff"
    with pytest.raises(InvalidInputError, match="Data should be valid base64"):
        decode(b'"no base64"', bytes)


@pytest.mark.parametrize("annotation", [Utf8Model, list[Utf8Model], Any])
def test_a_model_writes_bytes_as_its_own_config_says(annotation: Any):
    value = Utf8Model(data=b"\xff")
    said = refusal([value] if annotation == list[Utf8Model] else value, annotation)
    assert said.startswith(f"not JSON: {BYTES_ARE_CONFIGURED}, at $")
    assert encode(Base64Model(data=BYTES)) == b'{"data":"_wCJUE5H----"}'


def test_what_reads_an_input_says_where_it_has_bytes():
    value = {"a": 1, "data": BYTES, "more": [b"x"]}
    raw = b'{"a":1,"data":"_wCJUE5H----","more":["eA=="]}'
    assert encode_for(value, [str, dict[str, Any], Blob]) == raw
    assert encode_for([1, "x"], []) == b'[1,"x"]'
    assert encode_for(Blob(BYTES), [Blob]) == b'{"data":"_wCJUE5H----","more":[]}'
    for others in ([], [Any, dict[str, Any], str, Row]):
        with pytest.raises(InvalidInputError, match="only where an annotation says bytes"):
            encode_for(value, others)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({1}, "not JSON: a value of type set is no JSON, at $.a"),
        ({(1, 2): 3}, "not JSON: a key of type tuple, at $.a"),
        ("\0", "PostgreSQL cannot hold it: NUL character in the text at $.a"),
        (NAN, "not JSON: nan at $.a"),
    ],
)
def test_bytes_in_an_input_do_not_hide_what_else_is_wrong(bad: Any, message: str):
    with pytest.raises(InvalidInputError) as raised:
        encode_for({"data": BYTES, "a": bad}, [Blob])
    assert str(raised.value) == message


# ---------------------------------------------------------------------------------------- what is refused

ANNOTATIONS = [Any, dict[str, Any]]


@pytest.mark.parametrize("annotation", ANNOTATIONS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NAN, "not JSON: nan at $.a[1]"),
        (math.inf, "not JSON: inf at $.a[1]"),
        (-math.inf, "not JSON: -inf at $.a[1]"),
        (Point(NAN), "not JSON: nan at $.a[1].x"),
        (Loose(x=NAN), "not JSON: nan at $.a[1].x"),
        (Loose(more=[None, math.inf]), "not JSON: inf at $.a[1].more[1]"),
        ({"x": "\ud800"}, "not JSON: half a surrogate pair in the text at $.a[1].x"),
        ("a\0b", "PostgreSQL cannot hold it: NUL character in the text at $.a[1]"),
        ({"\0": 1}, "PostgreSQL cannot hold it: NUL character in the text at $.a[1] (key)"),
        (Loose(more="\0"), "PostgreSQL cannot hold it: NUL character in the text at $.a[1].more"),
        ("\\\0", "PostgreSQL cannot hold it: NUL character in the text at $.a[1]"),
        (Loose(more={"x": object()}), "not JSON: Unable to serialize unknown type: <class 'object'>, at $.a[1].more.x"),
        (b"\xff", f"{BYTES_ARE_ANNOTATED}, at $.a[1]"),
        (b"plain", f"{BYTES_ARE_ANNOTATED}, at $.a[1]"),
        (Utf8Model(data=b"\xff"), f"{BYTES_ARE_CONFIGURED}, at $.a[1].data"),
        (Utf8Dataclass([b"a", b"\xff"]), f"{BYTES_ARE_CONFIGURED}, at $.a[1].data[1]"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(annotation: Any, bad: Any, message: str):
    assert refusal({"a": [0, bad]}, annotation).endswith(message)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({1}, "a value of type set is no JSON, at $.a[0]"),
        (frozenset(), "a value of type frozenset is no JSON, at $.a[0]"),
        (b"x", f"{BYTES_ARE_ANNOTATED}, at $.a[0]"),
        (bytearray(b"x"), f"{BYTES_ARE_ANNOTATED}, at $.a[0]"),
        (object(), "a value of type object is no JSON, at $.a[0]"),
        (len, "a value of type builtin_function_or_method is no JSON, at $.a[0]"),
        (Point, "a value of type type is no JSON, at $.a[0]"),
        (iter([]), "a value of type list_iterator is no JSON, at $.a[0]"),
        ({(1, 2): 3}, "a key of type tuple, at $.a[0]"),
    ],
)
def test_what_is_no_json_needs_an_annotation(bad: Any, message: str):
    assert refusal({"a": [bad]}) == f"not JSON: {message}"


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (NAN, float),
        ([1.0, math.inf], list[float]),
        (Loose(x=NAN), Loose),
        ([Loose(x=NAN)], list[Loose]),
        (Point(NAN), Point),
        ({"a": Point(NAN)}, dict[str, Point]),
        (Loose(more=[math.inf]), Loose),
        (Loose(more=[math.inf]), Any),
        (Point(1.0, Loose(more={"x": NAN})), Any),
        (PydanticPoint(NAN), Any),
        (PydanticPoint(NAN), PydanticPoint),
    ],
)
def test_a_nan_never_becomes_null(value: Any, annotation: Any):
    assert "nan at $" in refusal(value, annotation) or "inf at $" in refusal(value, annotation)


@pytest.mark.parametrize("annotation", [Login, Any, dict[str, Any]])
def test_a_secret_never_becomes_asterisks(annotation: Any):
    login = Login(password=SecretStr("correct horse"))
    assert "a SecretStr would be stored as asterisks" in refusal(
        {"login": login} if annotation == dict[str, Any] else login, annotation
    )


def test_asterisks_in_a_text_and_the_empty_secret_are_fine():
    assert encode("*" * 10, str) == b'"**********"'
    assert encode(Login(password=SecretStr("")), Login) == b'{"password":""}'


def test_the_word_nan_in_a_text_is_fine():
    assert encode(["NaN", "Infinity", "null"], list[str]) == b'["NaN","Infinity","null"]'


@pytest.mark.parametrize("annotation", [str, Any, list[str], dict[str, str]])
def test_a_text_that_looks_like_an_escaped_nul_is_fine(annotation: Any):
    text = "\\u0000 \\\\u0000"
    value = [text] if annotation == list[str] else {text: text} if annotation == dict[str, str] else text
    assert decode(encode(value, annotation), annotation) == value


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("x", int, "Input should be a valid integer"),
        ({"n": "x"}, Strict, "n: Input should be a valid integer, unable to parse string as an integer (got 'x')"),
        ({"n": 1, "m": 2}, Strict, "m: Extra inputs are not permitted (got 2)"),
        ([1, "y"], list[int], "1: Input should be a valid integer"),
        ({}, Row, "when: Field required (got {}); data: Field required (got {})"),
        (Loose(), Strict, "Input should be a valid dictionary or instance of Strict"),
    ],
)
def test_a_value_that_does_not_fit_its_annotation_is_refused(value: Any, annotation: Any, message: str):
    assert message in refusal(value, annotation)


@pytest.mark.parametrize(
    ("raw", "annotation"),
    [(b'"x"', int), (b"null", int), (b"{}", list[int]), (b'"2026-13-01"', date), (b"{", Any), (b"{", Model)],
)
def test_json_that_does_not_fit_is_refused(raw: bytes, annotation: Any):
    with pytest.raises(InvalidInputError):
        decode(raw, annotation)


def test_a_long_value_is_shortened_in_the_message():
    assert len(refusal("x" * 10_000, int)) < 200


# ---------------------------------------------------------------------------------------- depth


@pytest.mark.parametrize("annotation", [Any, list[Any]])
def test_values_may_nest_a_hundred_deep(annotation: Any):
    assert decode(encode(nested(100), annotation), annotation) == nested(100)


@pytest.mark.parametrize("annotation", [Any, list[Any]])
def test_values_that_nest_too_deeply_are_refused(annotation: Any):
    assert refusal(nested(5000), annotation).startswith("not JSON: ")
    with pytest.raises(InvalidInputError, match="recursion limit"):
        decode(b"[" * 5000 + b"]" * 5000, annotation)


@pytest.mark.parametrize("annotation", [Any, list[Any]])
def test_values_that_hold_themselves_are_refused(annotation: Any):
    endless: list[Any] = []
    endless.append(endless)
    assert "Circular reference" in refusal(endless, annotation)


# ---------------------------------------------------------------------------------------- what annotations may be


def test_an_annotation_need_not_be_hashable():
    from typing import Annotated

    from pydantic import Field

    annotation = Annotated[int, Field(ge=1, json_schema_extra={"examples": [1]}), ["unhashable"]]
    assert decode(encode(3, annotation), annotation) == 3


def test_a_model_that_validates_by_running_code_is_explained_in_one_line():
    class Checked(BaseModel):
        n: int

        @model_validator(mode="after")
        def check(self) -> Checked:
            raise ValueError("never")

    with pytest.raises(InvalidInputError, match="Value error, never") as caught:
        decode(b'{"n":1}', Checked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [{"n": 2**100, "x": 0.1, "t": "ü\u2028\\u0000\x01", "l": [None, True, {}]}, 1e-300, ""]
)
def test_what_is_encoded_comes_back_from_the_database(conn: psycopg.Connection, value: Any):
    stored = db_value(conn, "select %s::text::jsonb::text", encode(value).decode())
    assert decode(stored.encode()) == value


def test_what_is_too_large_for_postgresql_never_gets_on_its_way(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pgflow.flow.codec.MOST_BYTES", 100)
    assert encode("x" * 98)
    with pytest.raises(InvalidInputError, match=r"101 bytes of JSON are too many .* keep it elsewhere"):
        encode("x" * 99)
