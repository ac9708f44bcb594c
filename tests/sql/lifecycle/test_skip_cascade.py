"""_cascade_force_skip_steps: a step and all that come after it, each once."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.sql.flows import (
    archived,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    run_row,
    start,
    step,
    step_row,
    step_status,
    task_status,
)
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, sent
from tests.support import value


def force_skip(conn: psycopg.Connection, run_id: uuid.UUID, slug: str, reason: str = "because") -> int:
    count: int = value(conn, "select pgflow._cascade_force_skip_steps(%s, %s, %s)", run_id, slug, reason)
    return count


def test_it_skips_the_step_with_the_reason_given_and_its_dependents_with_their_own(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), step("c", "b"), "other")
    run_id = start(conn, "flow")
    assert force_skip(conn, run_id, "b") == 2
    assert step_status(conn, run_id) == {"a": "started", "b": "skipped", "c": "skipped", "other": "started"}
    assert step_row(conn, run_id, "b")["skip_reason"] == "because"
    assert step_row(conn, run_id, "c")["skip_reason"] == "dependency_skipped"
    assert step_row(conn, run_id, "c")["skipped_at"] is not None
    assert run_row(conn, run_id)["remaining_steps"] == 2


def test_a_dependent_with_other_dependencies_is_skipped_too(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b", step("c", "a", "b"))
    run_id = start(conn, "flow")
    assert force_skip(conn, run_id, "a") == 2
    assert step_status(conn, run_id) == {"a": "skipped", "b": "started", "c": "skipped"}


def test_remaining_deps_stay_as_they_are(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), step("c", "a", "b"))
    run_id = start(conn, "flow")
    force_skip(conn, run_id, "a")
    assert [step_row(conn, run_id, slug)["remaining_deps"] for slug in "abc"] == [0, 1, 2]


def test_started_steps_are_skipped_and_their_messages_archived(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), "other")
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow", qty=1)
    assert force_skip(conn, run_id, "m") == 1
    assert step_row(conn, run_id, "m")["remaining_tasks"] is None
    assert queued(conn, "flow") == [("other", 0)]
    assert archived(conn, "flow") == [("m", 0), ("m", 1)]


def test_the_rows_of_tasks_stay_as_they_are(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow", qty=1)
    force_skip(conn, run_id, "m")
    assert task_status(conn, run_id, "m") == ["started", "queued"]


def test_it_does_not_complete_the_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    force_skip(conn, run_id, "a")
    assert (run_row(conn, run_id)["status"], run_row(conn, run_id)["remaining_steps"]) == ("started", 0)


def test_it_passes_over_a_terminal_step_but_goes_on_behind_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), step("c", "b"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    poll_and_start(conn, "flow")
    complete(conn, run_id, "b", 2)
    assert force_skip(conn, run_id, "a") == 1
    assert step_status(conn, run_id) == {"a": "completed", "b": "completed", "c": "skipped"}
    assert step_row(conn, run_id, "c")["skip_reason"] == "dependency_skipped"


def test_called_again_it_changes_nothing_and_emits_nothing(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", "a", step("b", "a"), "c")
    run_id = start(conn, "flow")
    force_skip(conn, run_id, "a")
    before = run_row(conn, run_id), step_row(conn, run_id, "a"), step_row(conn, run_id, "b")
    forget_events(conn)
    assert force_skip(conn, run_id, "a", "another") == 0
    assert (run_row(conn, run_id), step_row(conn, run_id, "a"), step_row(conn, run_id, "b")) == before
    assert sent(conn) == []


def test_each_step_counts_once_however_many_paths_lead_to_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"), step("c", "a"), step("d", "b", "c"), step("e", "a", "d"))
    run_id = start(conn, "flow")
    assert force_skip(conn, run_id, "a") == 5
    assert run_row(conn, run_id)["remaining_steps"] == 0


def test_the_messages_of_a_step_that_was_skipped_before_are_left_alone(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    conn.execute(
        """update pgflow.step_states set status = 'skipped', skip_reason = 'by hand', remaining_tasks = null,
             skipped_at = now() where step_slug = 'a'"""
    )
    assert force_skip(conn, run_id, "a") == 1
    assert queued(conn, "flow") == [("a", 0)]
    assert step_row(conn, run_id, "a")["skip_reason"] == "by hand"


def test_another_run_of_the_flow_is_left_alone(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id, other = start(conn, "flow"), start(conn, "flow")
    force_skip(conn, run_id, "a")
    assert step_status(conn, other) == {"a": "started", "b": "created"}


def test_an_unknown_run_is_an_error(conn: psycopg.Connection) -> None:
    unknown = uuid.uuid4()
    with pytest.raises(psycopg.errors.RaiseException, match=f"Run not found: {unknown}"):
        force_skip(conn, unknown, "a")


def test_events_go_out_by_step_index(conn: psycopg.Connection) -> None:
    add_realtime(conn)
    create_flow(conn, "flow", "z", step("y", "z"), step("x", "y"), step("w", "z"))
    run_id = start(conn, "flow")
    forget_events(conn)
    force_skip(conn, run_id, "z")
    assert sent(conn) == [f"step:{slug}:skipped" for slug in "zyxw"]


@pytest.mark.parametrize("late", [complete, fail])
def test_a_worker_that_comes_late_to_a_skipped_step_changes_nothing(conn: psycopg.Connection, late: object) -> None:
    create_flow(conn, "flow", "a", "b")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    force_skip(conn, run_id, "a")
    before = run_row(conn, run_id), step_row(conn, run_id, "a")
    row = late(conn, run_id, "a")  # type: ignore[operator]
    assert row["status"] == "started"
    assert (run_row(conn, run_id), step_row(conn, run_id, "a")) == before
