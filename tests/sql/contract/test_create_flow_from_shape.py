"""pgflow._create_flow_from_shape."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.sql.flows import violates
from tests.support import rows, value


def create(conn: psycopg.Connection, shape: dict[str, Any]) -> None:
    conn.execute("select pgflow._create_flow_from_shape('flow', %s)", (Jsonb(shape),))


def test_what_is_missing_takes_its_default(trial: psycopg.Connection) -> None:
    create(trial, {"steps": [{"slug": "a", "stepType": "single"}]})
    assert rows(trial, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows") == [(3, 5, 60)]
    assert rows(
        trial,
        """select step_slug, step_type, deps_count, opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay,
                  required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted from pgflow.steps""",
    ) == [("a", "single", 0, None, None, None, None, None, None, "skip", "fail")]


def test_options_of_flow_and_steps_are_stored(trial: psycopg.Connection) -> None:
    options = {"maxAttempts": 1, "baseDelay": 0, "timeout": 7}
    create(
        trial,
        {
            "steps": [{"slug": "a", "stepType": "single", "options": {**options, "maxAttempts": 0, "startDelay": 9}}],
            "options": options,
        },
    )
    assert rows(trial, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows") == [(1, 0, 7)]
    assert rows(trial, "select opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay from pgflow.steps") == [
        (0, 0, 7, 9)
    ]


def test_null_options_take_their_default(trial: psycopg.Connection) -> None:
    nothing = {"maxAttempts": None, "baseDelay": None, "timeout": None}
    create(
        trial,
        {
            "steps": [{"slug": "a", "stepType": "single", "options": {**nothing, "startDelay": None}}],
            "options": nothing,
        },
    )
    assert rows(trial, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows") == [(3, 5, 60)]
    assert rows(trial, "select opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay from pgflow.steps") == [
        (None, None, None, None)
    ]


def test_a_stored_shape_is_read_back_the_same(trial: psycopg.Connection) -> None:
    shape = {
        "steps": [
            {
                "slug": slug,
                "stepType": kind,
                "dependencies": deps,
                "whenUnmet": "fail",
                "whenExhausted": "skip-cascade",
                "requiredInputPattern": {"defined": True, "value": {"x": [1, None]}},
                "forbiddenInputPattern": {"defined": False},
            }
            for slug, kind, deps in [("z", "single", []), ("m", "map", ["z"]), ("a", "single", ["m", "z"])]
        ]
    }
    create(trial, shape)
    assert value(trial, "select pgflow._get_flow_shape('flow')") == shape


def test_a_pattern_that_is_not_defined_is_not_stored(trial: psycopg.Connection) -> None:
    create(
        trial,
        {"steps": [{"slug": "a", "stepType": "single", "requiredInputPattern": {"defined": False, "value": {"x": 1}}}]},
    )
    assert value(trial, "select required_input_pattern from pgflow.steps") is None


def test_it_makes_the_queue(trial: psycopg.Connection) -> None:
    create(trial, {"steps": []})
    assert rows(trial, "select queue_name from pgmq.list_queues()") == [("flow",)]


def test_a_shape_in_no_topological_order_is_refused(trial: psycopg.Connection) -> None:
    with violates("deps_flow_slug_dep_slug_fkey"):
        create(
            trial,
            {
                "steps": [
                    {"slug": "b", "stepType": "single", "dependencies": ["a"]},
                    {"slug": "a", "stepType": "single"},
                ]
            },
        )
