"""shape() and sql(): the flow as the SQL core sees it."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import psycopg
import pytest

from pgflow import Flow
from tests.support import rows, value

NOT_DEFINED = {"defined": False}
PLAIN = {
    "stepType": "single",
    "dependencies": [],
    "whenUnmet": "skip",
    "whenExhausted": "fail",
    "requiredInputPattern": NOT_DEFINED,
    "forbiddenInputPattern": NOT_DEFINED,
}


def plain() -> Flow[Any, Any]:
    flow = Flow("plain")
    flow.step(slug="only")(lambda: 1)
    return flow


def rich() -> Flow[Any, Any]:
    """Everything that a shape can hold."""
    flow = Flow("rich", max_attempts=0, base_delay=0, timeout=7)

    @flow.step
    def z() -> list[int]: ...

    @flow.map(over=z, max_attempts=5, base_delay=2, timeout=9, start_delay=0)
    def b(x: int) -> int: ...

    @flow.map(initial_tasks=4)
    def n(i: int) -> int: ...

    @flow.map(over=z, initial_tasks=2, when_exhausted="skip-cascade")
    def e(x: int) -> int: ...

    @flow.map
    def root(x: int): ...

    @flow.step(
        run_if={"z": [1], "b": {"it's": 'a \\ "quoted" \' text; --'}},
        run_unless={},
        when_unmet="fail",
        when_exhausted="skip",
    )
    def join(z: list[int], b: list[int]): ...

    @flow.step(depends_on=[z], when_unmet="skip-cascade")
    def last(): ...

    return flow


def test_the_shape_of_a_plain_step():
    assert plain().shape() == {"steps": [{"slug": "only", **PLAIN}]}


def test_the_shape_of_everything():
    shape = rich().shape()
    assert shape == {
        "options": {"maxAttempts": 0, "baseDelay": 0, "timeout": 7},
        "steps": [
            {"slug": "z", **PLAIN},
            {
                "slug": "b",
                **PLAIN,
                "stepType": "map",
                "dependencies": ["z"],
                "options": {"maxAttempts": 5, "baseDelay": 2, "timeout": 9, "startDelay": 0},
            },
            {"slug": "n", **PLAIN, "stepType": "map", "initialTasks": 4},
            {
                "slug": "e",
                **PLAIN,
                "stepType": "map",
                "dependencies": ["z"],
                "whenExhausted": "skip-cascade",
                "initialTasks": 2,
            },
            {"slug": "root", **PLAIN, "stepType": "map"},
            {
                "slug": "join",
                **PLAIN,
                "dependencies": ["b", "z"],
                "whenUnmet": "fail",
                "whenExhausted": "skip",
                "requiredInputPattern": {
                    "defined": True,
                    "value": {"z": [1], "b": {"it's": 'a \\ "quoted" \' text; --'}},
                },
                "forbiddenInputPattern": {"defined": True, "value": {}},
            },
            {"slug": "last", **PLAIN, "dependencies": ["z"], "whenUnmet": "skip-cascade"},
        ],
    }
    assert json.loads(json.dumps(shape)) == shape


def test_steps_of_a_shape_come_behind_their_dependencies():
    flow = Flow("f")
    flow.step(slug="second", depends_on=["first"])(lambda: 1)
    flow.step(slug="first")(lambda: 1)
    assert [step["slug"] for step in flow.shape()["steps"]] == ["first", "second"]


def test_patterns_are_plain_json_in_a_shape():
    flow = Flow("f")
    flow.step(slug="a", run_if={"day": date(2026, 1, 2), "tags": ("x",)})(lambda: 1)
    assert flow.shape()["steps"][0]["requiredInputPattern"]["value"] == {"day": "2026-01-02", "tags": ["x"]}


def test_a_pattern_that_changes_later_does_not_change_the_flow():
    pattern = {"x": [1]}
    flow = Flow("f")
    flow.step(slug="a", run_if=pattern)(lambda: 1)
    pattern["x"].append(2)
    assert flow.shape()["steps"][0]["requiredInputPattern"]["value"] == {"x": [1]}


def test_the_sql_of_a_plain_flow():
    assert plain().sql() == (
        "select pgflow.create_flow(flow_slug => 'plain');\n"
        "select pgflow.add_step(flow_slug => 'plain', step_slug => 'only');\n"
    )


@pytest.mark.parametrize("make", [plain, rich])
@pytest.mark.parametrize("times", [1, 2])
def test_the_sql_stores_exactly_the_shape(conn: psycopg.Connection, make: Any, times: int):
    flow = make()
    for _ in range(times):
        conn.execute(flow.sql())
    stored = value(conn, "select pgflow._get_flow_shape(%s)", flow.slug)
    assert stored["steps"] == [{k: v for k, v in s.items() if k != "options"} for s in flow.shape()["steps"]]
    assert value(conn, "select pgflow.ensure_flow_compiled(%s, %s::jsonb)", flow.slug, json.dumps(flow.shape())) == {
        "status": "verified",
        "differences": [],
    }


OPTIONS = """
    select step_slug, opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay, initial_tasks
      from pgflow.steps order by step_index"""
FLOW_OPTIONS = "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows"


@pytest.mark.parametrize("way", ["sql", "shape"])
def test_options_reach_the_database_either_way(conn: psycopg.Connection, way: str):
    flow = rich()
    if way == "sql":
        conn.execute(flow.sql())
    else:
        answer = value(conn, "select pgflow.ensure_flow_compiled('rich', %s::jsonb)", json.dumps(flow.shape()))
        assert answer == {"status": "compiled", "differences": []}
    assert rows(conn, FLOW_OPTIONS) == [(0, 0, 7)]
    assert rows(conn, OPTIONS) == [
        ("z", None, None, None, None, None),
        ("b", 5, 2, 9, 0, None),
        ("n", None, None, None, None, 4),
        ("e", None, None, None, None, 2),
        ("root", None, None, None, None, None),
        ("join", None, None, None, None, None),
        ("last", None, None, None, None, None),
    ]


def test_a_flow_that_says_nothing_takes_the_defaults_of_the_contract(conn: psycopg.Connection):
    conn.execute(plain().sql())
    assert rows(conn, FLOW_OPTIONS) == [(3, 5, 60)]
