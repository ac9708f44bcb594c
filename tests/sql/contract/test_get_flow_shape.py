"""pgflow._get_flow_shape."""

from __future__ import annotations

import psycopg
from psycopg.types.json import Jsonb

from tests.sql.flows import create_flow, step
from tests.support import value


def test_every_key_is_present_but_the_options(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("a", max_attempts=1, timeout=2, base_delay=3, start_delay=4), timeout=9)
    assert value(trial, "select pgflow._get_flow_shape('flow')") == {
        "steps": [
            {
                "slug": "a",
                "stepType": "single",
                "dependencies": [],
                "whenUnmet": "skip",
                "whenExhausted": "fail",
                "requiredInputPattern": {"defined": False},
                "forbiddenInputPattern": {"defined": False},
            }
        ]
    }


def test_what_was_defined_is_shown(trial: psycopg.Connection) -> None:
    create_flow(
        trial,
        "flow",
        "a",
        step(
            "b",
            "a",
            step_type="map",
            when_unmet="fail",
            when_exhausted="skip-cascade",
            required_input_pattern={"a": 1},
            forbidden_input_pattern={},
        ),
    )
    assert value(trial, "select pgflow._get_flow_shape('flow') -> 'steps' -> 1") == {
        "slug": "b",
        "stepType": "map",
        "dependencies": ["a"],
        "whenUnmet": "fail",
        "whenExhausted": "skip-cascade",
        "requiredInputPattern": {"defined": True, "value": {"a": 1}},
        "forbiddenInputPattern": {"defined": True, "value": {}},
    }


def test_steps_come_by_index_and_dependencies_sorted(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "z", "y", "b", step("a", "z", "b", "y"))
    shape = value(trial, "select pgflow._get_flow_shape('flow')")
    assert [s["slug"] for s in shape["steps"]] == ["z", "y", "b", "a"]
    assert shape["steps"][3]["dependencies"] == ["b", "y", "z"]


def test_an_unknown_flow_has_no_steps(trial: psycopg.Connection) -> None:
    assert value(trial, "select pgflow._get_flow_shape('unknown')") == {"steps": []}


def test_a_flow_without_steps_has_none(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    assert value(trial, "select pgflow._get_flow_shape('flow')") == {"steps": []}


def test_a_handler_of_ours_is_shown_where_one_is_named_and_makes_no_difference(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a", "b")
    foreign = value(trial, "select pgflow._get_flow_shape('flow')")
    trial.execute("update pgflow.steps set handler = 'shared' where step_slug = 'b'")
    shown = value(trial, "select pgflow._get_flow_shape('flow')")
    assert [s.get("handler") for s in shown["steps"]] == [None, "shared"]
    assert "handler" not in shown["steps"][0]
    answer = value(trial, "select pgflow.ensure_flow_compiled('flow', %s)", Jsonb(foreign))
    assert answer == {"status": "verified", "differences": []}
    assert value(trial, "select pgflow.ensure_flow_compiled('copy', %s) ->> 'status'", Jsonb(shown)) == "compiled"
    assert value(trial, "select pgflow._get_flow_shape('copy')") == shown
