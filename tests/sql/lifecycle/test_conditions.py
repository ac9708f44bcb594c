"""A step with a pattern is judged when nothing holds it back any more, before it starts."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.flows import (
    archived,
    complete,
    create_flow,
    poll_and_start,
    queued,
    run_row,
    run_status,
    start,
    step,
    step_row,
    step_status,
)
from tests.support import value


def pattern(required: Any = None, forbidden: Any = None, **options: Any) -> dict[str, Any]:
    """Options of a step with these patterns."""
    return {"required_input_pattern": required, "forbidden_input_pattern": forbidden, **options}


@pytest.mark.parametrize(
    ("required", "forbidden", "data", "met"),
    [
        ({"plan": "pro"}, None, {"plan": "pro", "more": 1}, True),
        ({"plan": "pro"}, None, {"plan": "free"}, False),
        ({"plan": "pro"}, None, {}, False),
        ({"user": {"age": 3}}, None, {"user": {"age": 3, "name": "x"}}, True),
        ({"tags": ["a"]}, None, {"tags": ["b", "a"]}, True),
        ({"plan": None}, None, {"plan": None}, True),
        ({"plan": None}, None, {}, False),
        ({}, None, {"any": "thing"}, True),
        ({}, None, ["no", "object"], False),
        ({"plan": "pro"}, None, "pro", False),
        (None, {"banned": True}, {"banned": False}, True),
        (None, {"banned": True}, {"banned": True}, False),
        (None, {"banned": True}, [], True),
        (None, {}, {"any": "thing"}, False),
        ({"plan": "pro"}, {"banned": True}, {"plan": "pro"}, True),
        ({"plan": "pro"}, {"banned": True}, {"plan": "pro", "banned": True}, False),
        ({"plan": "pro"}, {"banned": True}, {"banned": True}, False),
        ({"plan": "pro"}, {"banned": True}, {}, False),
    ],
)
def test_a_root_step_is_judged_on_the_run_input(
    conn: psycopg.Connection, required: Any, forbidden: Any, data: Any, met: bool
) -> None:
    create_flow(conn, "flow", step("a", **pattern(required, forbidden)))
    run_id = start(conn, "flow", data)
    assert step_status(conn, run_id) == {"a": "started" if met else "skipped"}


@pytest.mark.parametrize(
    ("required", "forbidden", "output", "met"),
    [
        ({"a": {"ok": True}}, None, {"ok": True, "n": 1}, True),
        ({"a": {"ok": True}}, None, {"ok": False}, False),
        ({"a": {"ok": True}}, None, None, False),
        ({"a": None}, None, None, True),
        ({"ok": True}, None, {"ok": True}, False),
        (None, {"a": {"stop": True}}, {"stop": True}, False),
        (None, {"a": {"stop": True}}, {"stop": False}, True),
        ({"a": [1]}, None, [2, 1], True),
        ({"a": 0}, None, 0, True),
    ],
)
def test_a_dependent_step_is_judged_on_its_dependencies_outputs(
    conn: psycopg.Connection, required: Any, forbidden: Any, output: Any, met: bool
) -> None:
    create_flow(conn, "flow", "a", step("b", "a", **pattern(required, forbidden)))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", output)
    assert step_status(conn, run_id)["b"] == ("started" if met else "skipped")


def test_a_dependent_step_is_not_judged_on_the_run_input(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a", **pattern({"plan": "pro"})))
    run_id = start(conn, "flow", {"plan": "pro"})
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", {})
    assert step_status(conn, run_id)["b"] == "skipped"


def test_a_step_is_judged_only_when_its_last_dependency_has_ended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b", step("c", "a", "b", **pattern({"b": 2})))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert step_status(conn, run_id)["c"] == "created"
    complete(conn, run_id, "b", 2)
    assert step_status(conn, run_id)["c"] == "started"


@pytest.mark.parametrize(
    ("required", "status"), [({"a": 1}, "started"), ({"no": 1}, "skipped"), ({"a": {}}, "skipped")]
)
def test_a_skipped_dependency_has_no_key_in_what_a_step_is_judged_on(
    conn: psycopg.Connection, required: Any, status: str
) -> None:
    create_flow(conn, "flow", "a", step("no", **pattern({"x": 1})), step("c", "a", "no", **pattern(required)))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert step_status(conn, run_id)["c"] == status


@pytest.mark.parametrize(
    ("required", "forbidden", "status"),
    [({}, None, "started"), ({"no": {}}, None, "skipped"), (None, {}, "skipped"), (None, {"no": {}}, "started")],
)
def test_a_step_whose_dependencies_were_all_skipped_is_judged_on_an_empty_object(
    conn: psycopg.Connection, required: Any, forbidden: Any, status: str
) -> None:
    create_flow(conn, "flow", step("no", **pattern({"x": 1})), step("b", "no", **pattern(required, forbidden)))
    run_id = start(conn, "flow")
    assert step_status(conn, run_id) == {"no": "skipped", "b": status}


def test_a_map_is_judged_before_its_tasks_are_made(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", step_type="map", **pattern({"a": [9]})))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", [1, 2])
    assert step_status(conn, run_id)["m"] == "skipped"
    assert queued(conn, "flow") == []


def test_an_empty_map_is_judged_like_any_step(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map", **pattern({"x": 1})), "end")
    run_id = start(conn, "flow", [])
    assert step_status(conn, run_id) == {"m": "skipped", "end": "started"}


def test_a_step_without_patterns_starts_whatever_its_when_unmet(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", when_unmet="fail"))
    assert step_status(conn, start(conn, "flow")) == {"a": "started"}


# ------------------------------------------------------------------------------------------------ fail


def test_an_unmet_step_with_fail_fails_the_run_at_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", **pattern({"x": 1}, when_unmet="fail")))
    run_id = start(conn, "flow")
    state, run = step_row(conn, run_id, "b"), run_row(conn, run_id)
    assert (state["status"], state["error_message"], state["skip_reason"]) == ("failed", "Condition not met", None)
    assert state["failed_at"] >= state["created_at"]
    assert (run["status"], run["completed_at"]) == ("failed", None)
    assert run["failed_at"] >= run["started_at"]


def test_start_flow_returns_the_run_that_its_conditions_failed(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1}, when_unmet="fail")))
    assert value(conn, "select status from pgflow.start_flow('flow', '{}')") == "failed"


def test_nothing_starts_or_completes_under_a_run_that_its_conditions_failed(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", step_type="map"), step("b", **pattern({"x": 1}, when_unmet="fail")))
    run_id = start(conn, "flow", [])
    assert step_status(conn, run_id) == {"a": "created", "m": "created", "b": "failed"}
    assert queued(conn, "flow") == []


def test_failing_comes_before_skipping_whatever_the_index(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("skip", **pattern({"x": 1})),
        step("cascade", **pattern({"x": 1}, when_unmet="skip-cascade")),
        step("fail", **pattern({"x": 1}, when_unmet="fail")),
    )
    run_id = start(conn, "flow")
    assert step_status(conn, run_id) == {"skip": "created", "cascade": "created", "fail": "failed"}


def test_only_the_first_failing_step_by_index_fails(conn: psycopg.Connection) -> None:
    failing = pattern({"x": 1}, when_unmet="fail")
    create_flow(conn, "flow", step("z", **failing), step("a", **failing))
    run_id = start(conn, "flow")
    assert step_status(conn, run_id) == {"z": "failed", "a": "created"}


def test_a_step_that_a_skip_makes_ready_is_judged_too(conn: psycopg.Connection) -> None:
    create_flow(
        conn, "flow", step("a", **pattern({"x": 1})), step("b", "a", **pattern({"a": {}}, when_unmet="fail")), "c"
    )
    run_id = start(conn, "flow")
    assert step_status(conn, run_id) == {"a": "skipped", "b": "failed", "c": "created"}
    assert run_status(conn, run_id) == "failed"


def test_an_unmet_step_in_mid_run_archives_all_messages_of_the_run(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        "a",
        "working",
        step("waiting", start_delay=60),
        step("b", "a", **pattern({"a": 2}, when_unmet="fail")),
    )
    run_id, other = start(conn, "flow"), start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert step_status(conn, run_id) == {"a": "completed", "working": "started", "waiting": "started", "b": "failed"}
    assert len(archived(conn, "flow")) == 3
    of_other = value(conn, "select count(*) from pgmq.q_flow where message ->> 'run_id' = %s", str(other))
    assert len(queued(conn, "flow")) == of_other == 3


# ------------------------------------------------------------------------------------------------ skip


def test_an_unmet_step_with_skip_is_skipped_alone(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1})), step("b", "a"))
    run_id = start(conn, "flow")
    state = step_row(conn, run_id, "a")
    assert (state["status"], state["skip_reason"], state["error_message"]) == ("skipped", "condition_unmet", None)
    assert state["skipped_at"] >= state["created_at"]
    assert (state["remaining_tasks"], state["started_at"], state["output"]) == (None, None, None)
    assert step_row(conn, run_id, "b")["remaining_deps"] == 0
    assert step_status(conn, run_id)["b"] == "started"
    assert run_row(conn, run_id)["remaining_steps"] == 1


def test_a_dependent_gets_the_skipped_step_absent_from_its_input(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("no", **pattern({"x": 1})), step("c", "a", "no"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert [t.input for t in poll_and_start(conn, "flow")] == [{"a": 1}]


def test_a_dependent_still_waits_for_its_other_dependencies(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("no", **pattern({"x": 1})), step("c", "a", "no"))
    run_id = start(conn, "flow")
    assert (step_row(conn, run_id, "c")["status"], step_row(conn, run_id, "c")["remaining_deps"]) == ("created", 1)


def test_a_map_whose_only_dependency_is_skipped_is_empty(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("no", **pattern({"x": 1})), step("m", "no", step_type="map"), step("end", "m"))
    run_id = start(conn, "flow")
    state = step_row(conn, run_id, "m")
    assert (state["status"], state["initial_tasks"], state["output"]) == ("completed", 0, [])
    assert [t.input for t in poll_and_start(conn, "flow")] == [{"m": []}]


def test_a_chain_of_unmet_steps_is_skipped_one_after_the_other(conn: psycopg.Connection) -> None:
    unmet = pattern({"x": 1})
    create_flow(conn, "flow", step("a", **unmet), step("b", "a", **unmet), step("c", "b", **unmet), step("d", "c"))
    run_id = start(conn, "flow")
    assert step_status(conn, run_id) == {"a": "skipped", "b": "skipped", "c": "skipped", "d": "started"}
    assert step_row(conn, run_id, "c")["skip_reason"] == "condition_unmet"


def test_a_step_behind_two_steps_skipped_at_once_starts_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1})), step("b", **pattern({"x": 1})), step("c", "a", "b"))
    run_id = start(conn, "flow")
    assert step_status(conn, run_id)["c"] == "started"
    assert queued(conn, "flow") == [("c", 0)]


def test_a_run_whose_steps_are_all_skipped_completes_without_output(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1})), step("b", "a", **pattern({"x": 1})))
    run = run_row(conn, start(conn, "flow"))
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", None, 0)


def test_a_skipped_final_step_is_absent_from_the_run_output(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), step("no", "a", **pattern({"a": "no"})))
    run_id = start(conn, "flow")
    for slug, output in (("a", 1), ("b", 2)):
        poll_and_start(conn, "flow")
        complete(conn, run_id, slug, output)
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["output"]) == ("completed", {"b": 2})


def test_a_run_completes_when_the_last_step_is_skipped(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("no", "a", **pattern({"a": "no"})))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["output"]) == ("completed", None)


# ------------------------------------------------------------------------------------------------ skip-cascade


def test_an_unmet_step_with_skip_cascade_takes_all_that_come_after_it_along(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("a", **pattern({"x": 1}, when_unmet="skip-cascade")),
        "free",
        step("b", "a", "free"),
        step("c", "b"),
        step("d", "free"),
    )
    run_id = start(conn, "flow")
    reasons = {slug: step_row(conn, run_id, slug)["skip_reason"] for slug in "abcd"}
    assert reasons == {
        "a": "condition_unmet",
        "b": "dependency_skipped",
        "c": "dependency_skipped",
        "d": None,
    }
    assert run_row(conn, run_id)["remaining_steps"] == 2
    poll_and_start(conn, "flow")
    complete(conn, run_id, "free", 1)
    assert step_status(conn, run_id)["d"] == "started"


def test_a_cascade_in_mid_run_completes_the_run_when_nothing_is_left(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a", **pattern({"a": 2}, when_unmet="skip-cascade")), step("c", "b"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert step_status(conn, run_id) == {"a": "completed", "b": "skipped", "c": "skipped"}
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["output"]) == ("completed", None)


def test_a_dependent_of_a_skip_and_of_a_cascade_is_skipped_by_the_cascade(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("alone", **pattern({"x": 1})),
        step("all", **pattern({"x": 1}, when_unmet="skip-cascade")),
        step("both", "alone", "all"),
    )
    run_id = start(conn, "flow")
    assert step_row(conn, run_id, "both")["skip_reason"] == "dependency_skipped"
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["remaining_steps"]) == ("completed", 0)


# ------------------------------------------------------------------------------- cascade_resolve_conditions


def resolve(conn: psycopg.Connection, run_id: uuid.UUID) -> Any:
    return value(conn, "select pgflow.cascade_resolve_conditions(%s)", run_id)


def unjudged(conn: psycopg.Connection, *slugs: str) -> None:
    """Gives stored steps a pattern that is not met: what was started without one is put back by the caller."""
    conn.execute(
        "update pgflow.steps set required_input_pattern = '{\"x\": 1}' where step_slug = any (%s)", (list(slugs),)
    )


def waiting_run(conn: psycopg.Connection, *slugs: str) -> uuid.UUID:
    """A run whose ready steps wait to be judged, as a caller's own rows may."""
    run_id: uuid.UUID = value(
        conn,
        "insert into pgflow.runs (flow_slug, input, remaining_steps) values ('flow', '{}', %s) returning run_id",
        len(slugs),
    )
    conn.execute(
        """insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks)
           select flow_slug, %s, step_slug, deps_count, 1 from pgflow.steps where step_slug = any (%s)""",
        (run_id, list(slugs)),
    )
    return run_id


def test_resolving_returns_true_and_changes_nothing_when_all_are_met(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = waiting_run(conn, "a", "b")
    assert resolve(conn, run_id) is True
    assert step_status(conn, run_id) == {"a": "created", "b": "created"}
    assert queued(conn, "flow") == []


def test_resolving_skips_what_is_unmet_and_starts_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1})), step("b", "a"))
    run_id = waiting_run(conn, "a", "b")
    assert resolve(conn, run_id) is True
    assert step_status(conn, run_id) == {"a": "skipped", "b": "created"}
    assert (run_row(conn, run_id)["remaining_steps"], run_status(conn, run_id)) == (1, "started")


def test_resolving_returns_false_when_the_run_failed_by_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1}, when_unmet="fail")))
    run_id = waiting_run(conn, "a")
    assert resolve(conn, run_id) is False
    assert run_status(conn, run_id) == "failed"


def test_resolving_again_changes_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", **pattern({"x": 1})), "b")
    run_id = waiting_run(conn, "a", "b")
    resolve(conn, run_id)
    before = run_row(conn, run_id), step_row(conn, run_id, "a")
    assert resolve(conn, run_id) is True
    assert (run_row(conn, run_id), step_row(conn, run_id, "a")) == before


def test_resolving_judges_only_steps_that_nothing_holds_back(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), "c")
    run_id = start(conn, "flow")
    unjudged(conn, "a", "b", "c")
    assert resolve(conn, run_id) is True
    assert step_status(conn, run_id) == {"a": "started", "b": "created", "c": "started"}
