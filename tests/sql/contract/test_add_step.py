"""pgflow.add_step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql.flows import call, create_flow, raises, step, violates
from tests.support import rows, value


def add(conn: psycopg.Connection, slug: str, *deps: str, **options: Any) -> dict[str, Any]:
    return call(conn, "add_step", flow_slug="flow", step_slug=slug, deps_slugs=list(deps), **options)[0]


def dependencies(conn: psycopg.Connection) -> list[tuple[str, str]]:
    return rows(conn, "select step_slug, dep_slug from pgflow.deps order by 1, 2")


def test_it_returns_the_stored_step(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    added = add(
        trial,
        "b",
        "a",
        max_attempts=7,
        base_delay=8,
        timeout=9,
        start_delay=10,
        step_type="map",
        required_input_pattern={"a": [1]},
        forbidden_input_pattern={"b": None},
        when_unmet="fail",
        when_exhausted="skip-cascade",
    )
    assert rows(trial, "select * from pgflow.steps where step_slug = 'b'") == [tuple(added.values())]
    added.pop("created_at")
    assert (
        added.items()
        >= {
            "flow_slug": "flow",
            "step_slug": "b",
            "step_type": "map",
            "step_index": 1,
            "deps_count": 1,
            "opt_max_attempts": 7,
            "opt_base_delay": 8,
            "opt_timeout": 9,
            "opt_start_delay": 10,
            "when_unmet": "fail",
            "when_exhausted": "skip-cascade",
        }.items()
    )
    assert (added["required_input_pattern"], added["forbidden_input_pattern"]) == ({"a": [1]}, {"b": None})


def test_what_is_not_given_takes_its_default(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    [added] = call(trial, "add_step", flow_slug="flow", step_slug="a")
    assert (
        added.items()
        >= {
            "step_type": "single",
            "step_index": 0,
            "deps_count": 0,
            "opt_max_attempts": None,
            "opt_base_delay": None,
            "opt_timeout": None,
            "opt_start_delay": None,
            "required_input_pattern": None,
            "forbidden_input_pattern": None,
            "when_unmet": "skip",
            "when_exhausted": "fail",
        }.items()
    )
    assert dependencies(trial) == []


def test_null_dependencies_are_none_and_a_null_type_is_single(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    [added] = call(trial, "add_step", flow_slug="flow", step_slug="a", deps_slugs=None, step_type=None)
    assert (added["deps_count"], added["step_type"], dependencies(trial)) == (0, "single", [])


def test_steps_are_numbered_from_0_in_each_flow(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "z", "y", "x")
    create_flow(trial, "other", "z")
    assert rows(trial, "select flow_slug, step_slug, step_index from pgflow.steps order by 1, 3") == [
        ("flow", "z", 0),
        ("flow", "y", 1),
        ("flow", "x", 2),
        ("other", "z", 0),
    ]


def test_the_index_is_the_highest_plus_1(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    trial.execute("update pgflow.steps set step_index = 41")
    assert add(trial, "b")["step_index"] == 42


def test_dependencies_are_stored_and_counted(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b", step("c", "b", "a"))
    assert dependencies(trial) == [("c", "a"), ("c", "b")]
    assert value(trial, "select deps_count from pgflow.steps where step_slug = 'c'") == 2


def test_a_dependency_given_twice_counts_once(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b", step("c", "a", "b", "a"))
    assert dependencies(trial) == [("c", "a"), ("c", "b")]
    assert value(trial, "select deps_count from pgflow.steps where step_slug = 'c'") == 2


def test_an_existing_step_is_returned_unchanged(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b")
    first = add(trial, "c", "a", timeout=9)
    second = add(trial, "c", "b", "a", timeout=1, step_type="single", when_unmet="fail")
    assert second == first
    assert dependencies(trial) == [("c", "a")]
    assert add(trial, "d")["step_index"] == 3


@pytest.mark.parametrize(
    ("constraint", "arguments"),
    [
        ("steps_flow_slug_fkey", {"flow_slug": "unknown"}),
        ("steps_flow_slug_fkey", {"flow_slug": "unknown", "deps_slugs": ["a"]}),
        ("deps_flow_slug_dep_slug_fkey", {"deps_slugs": ["unknown"]}),
        ("deps_check", {"deps_slugs": ["new"]}),
        ("steps_step_slug_check", {"step_slug": "run"}),
        ("steps_step_slug_check", {"step_slug": "not-a-slug"}),
        ("steps_step_type_check", {"step_type": "double"}),
        ("opt_max_attempts_is_nonnegative", {"max_attempts": -1}),
        ("opt_base_delay_is_nonnegative", {"base_delay": -1}),
        ("opt_timeout_is_positive", {"timeout": 0}),
        ("opt_start_delay_is_nonnegative", {"start_delay": -1}),
        ("when_unmet_is_valid", {"when_unmet": "ignore"}),
        ("when_exhausted_is_valid", {"when_exhausted": "ignore"}),
    ],
)
def test_a_wrong_argument_is_refused_by_the_constraint(
    trial: psycopg.Connection, constraint: str, arguments: dict[str, Any]
) -> None:
    create_flow(trial, "flow", "a")
    with violates(constraint):
        call(trial, "add_step", **{"flow_slug": "flow", "step_slug": "new", **arguments})


@pytest.mark.parametrize("pattern", ["required_input_pattern", "forbidden_input_pattern"])
def test_a_pattern_must_be_an_object(trial: psycopg.Connection, pattern: str) -> None:
    create_flow(trial, "flow")
    with violates(f"{pattern}_is_object"):
        trial.execute(f"select pgflow.add_step('flow', 'a', {pattern} => '[]')")


def test_a_step_of_another_flow_is_no_dependency(trial: psycopg.Connection) -> None:
    create_flow(trial, "other", "a")
    create_flow(trial, "flow")
    with violates("deps_flow_slug_dep_slug_fkey"):
        add(trial, "b", "a")


def test_a_map_takes_at_most_one_dependency_named_in_the_order_given(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b", "c")
    with raises('Map step "m" can have at most one dependency, but 3 were provided: c, a, b'):
        add(trial, "m", "c", "a", "b", step_type="map")


@pytest.mark.parametrize("deps", [[], ["a"], ["a", "a"]])
def test_a_map_may_have_no_dependency_or_one(trial: psycopg.Connection, deps: list[str]) -> None:
    create_flow(trial, "flow", "a")
    assert add(trial, "m", *deps, step_type="map")["deps_count"] == len(set(deps))


def test_a_refused_step_leaves_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    with violates("deps_flow_slug_dep_slug_fkey"):
        add(conn, "b", "a", "unknown")
    assert rows(conn, "select step_slug from pgflow.steps") == [("a",)]
    assert dependencies(conn) == []


def test_callers_at_once_never_take_the_same_index(dsn: str, conn: psycopg.Connection) -> None:
    create_flow(conn, "flow")

    def add_own(n: int) -> int:
        with psycopg.connect(dsn) as each:
            return int(add(each, f"step_{n}")["step_index"])

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add_own, range(8))) == list(range(8))
