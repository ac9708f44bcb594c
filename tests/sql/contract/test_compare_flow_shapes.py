"""pgflow._compare_flow_shapes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support import value

FULL = {
    "slug": "a",
    "stepType": "single",
    "dependencies": [],
    "whenUnmet": "skip",
    "whenExhausted": "fail",
    "requiredInputPattern": {"defined": False},
    "forbiddenInputPattern": {"defined": False},
}
MISSING = object()


def full(**changed: Any) -> dict[str, Any]:
    """A step with every key, but those that are MISSING."""
    return {key: each for key, each in (FULL | changed).items() if each is not MISSING}


def compare(conn: psycopg.Connection, local: list[dict[str, Any]], db: list[dict[str, Any]]) -> Any:
    sql = "select pgflow._compare_flow_shapes(%s, %s)"
    return value(conn, sql, Jsonb({"steps": local}), Jsonb({"steps": db}))


@pytest.mark.parametrize("steps", [[], [full()], [full(), full(slug="b", dependencies=["a"])]])
def test_equal_shapes_have_no_differences(trial: psycopg.Connection, steps: list[dict[str, Any]]) -> None:
    assert compare(trial, steps, steps) == []


@pytest.mark.parametrize(
    ("local", "db", "line"),
    [
        ({"slug": "a"}, {"slug": "b"}, "slug differs 'a' vs 'b'"),
        ({"stepType": "single"}, {"stepType": "map"}, "type differs 'single' vs 'map'"),
        ({"dependencies": ["b", "a"]}, {"dependencies": ["a"]}, "dependencies differ [a, b] vs [a]"),
        ({"dependencies": []}, {"dependencies": ["b", "a"]}, "dependencies differ [] vs [a, b]"),
        ({"dependencies": MISSING}, {"dependencies": ["a"]}, "dependencies differ [] vs [a]"),
        ({"whenUnmet": "skip"}, {"whenUnmet": "fail"}, "whenUnmet differs 'skip' vs 'fail'"),
        ({"whenExhausted": "fail"}, {"whenExhausted": "skip"}, "whenExhausted differs 'fail' vs 'skip'"),
        (
            {"requiredInputPattern": {"value": {"b": 1, "a": [2]}, "defined": True}},
            {"requiredInputPattern": {"defined": False}},
            'requiredInputPattern differs \'{"value": {"a": [2], "b": 1}, "defined": true}\' vs \'{"defined": false}\'',
        ),
        (
            {"forbiddenInputPattern": {"defined": False}},
            {"forbiddenInputPattern": {"defined": True, "value": {"x": None}}},
            'forbiddenInputPattern differs \'{"defined": false}\' vs \'{"value": {"x": null}, "defined": true}\'',
        ),
        (
            {"requiredInputPattern": MISSING},
            {"requiredInputPattern": {"defined": False}},
            "requiredInputPattern differs '' vs '{\"defined\": false}'",
        ),
        (
            {"forbiddenInputPattern": {"defined": False}},
            {"forbiddenInputPattern": MISSING},
            "forbiddenInputPattern differs '{\"defined\": false}' vs ''",
        ),
    ],
)  # fmt: skip
def test_a_difference_is_one_line(
    trial: psycopg.Connection, local: dict[str, Any], db: dict[str, Any], line: str
) -> None:
    assert compare(trial, [full(**local)], [full(**db)]) == [f"Step at index 0: {line}"]


@pytest.mark.parametrize("key", ["slug", "stepType", "whenUnmet", "whenExhausted"])
def test_a_key_that_either_lacks_makes_no_difference(trial: psycopg.Connection, key: str) -> None:
    assert compare(trial, [full(**{key: MISSING})], [full()]) == []
    assert compare(trial, [full()], [full(**{key: MISSING})]) == []


@pytest.mark.parametrize("key", ["dependencies", "requiredInputPattern", "forbiddenInputPattern"])
def test_what_both_lack_makes_no_difference(trial: psycopg.Connection, key: str) -> None:
    assert compare(trial, [full(**{key: MISSING})], [full(**{key: MISSING})]) == []


def test_missing_dependencies_are_none(trial: psycopg.Connection) -> None:
    assert compare(trial, [full(dependencies=MISSING)], [full(dependencies=[])]) == []


def test_the_order_of_dependencies_makes_no_difference(trial: psycopg.Connection) -> None:
    assert compare(trial, [full(dependencies=["b", "a"])], [full(dependencies=["a", "b"])]) == []


def test_options_are_no_part_of_a_comparison(trial: psycopg.Connection) -> None:
    sql = "select pgflow._compare_flow_shapes(%s, %s)"
    local = {"steps": [full(options={"timeout": 1})], "options": {"maxAttempts": 1}}
    assert value(trial, sql, Jsonb(local), Jsonb({"steps": [full()]})) == []


def test_a_step_missing_in_the_first_shape(trial: psycopg.Connection) -> None:
    assert compare(trial, [full()], [full(), full(slug="x")]) == [
        "Step count differs: 1 vs 2",
        "Step at index 1: missing in first shape (second has 'x')",
    ]


def test_a_step_missing_in_the_second_shape(trial: psycopg.Connection) -> None:
    assert compare(trial, [full(), full(slug="x")], [full()]) == [
        "Step count differs: 2 vs 1",
        "Step at index 1: missing in second shape (first has 'x')",
    ]


def test_all_differences_come_in_the_documented_order(trial: psycopg.Connection) -> None:
    other = full(
        slug="b",
        stepType="map",
        dependencies=["x"],
        whenUnmet="fail",
        whenExhausted="skip",
        requiredInputPattern={"defined": True, "value": {}},
        forbiddenInputPattern={"defined": True, "value": {}},
    )
    assert compare(trial, [full(), full()], [full(), other, full(slug="c")]) == [
        "Step count differs: 2 vs 3",
        "Step at index 1: slug differs 'a' vs 'b'",
        "Step at index 1: type differs 'single' vs 'map'",
        "Step at index 1: dependencies differ [] vs [x]",
        "Step at index 1: whenUnmet differs 'skip' vs 'fail'",
        "Step at index 1: whenExhausted differs 'fail' vs 'skip'",
        'Step at index 1: requiredInputPattern differs \'{"defined": false}\' vs \'{"value": {}, "defined": true}\'',
        'Step at index 1: forbiddenInputPattern differs \'{"defined": false}\' vs \'{"value": {}, "defined": true}\'',
        "Step at index 2: missing in first shape (second has 'c')",
    ]


def test_steps_are_compared_by_index_not_by_slug(trial: psycopg.Connection) -> None:
    assert compare(trial, [full(slug="a"), full(slug="b")], [full(slug="b"), full(slug="a")]) == [
        "Step at index 0: slug differs 'a' vs 'b'",
        "Step at index 1: slug differs 'b' vs 'a'",
    ]
