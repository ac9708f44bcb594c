"""Where Supabase's realtime.send exists, every change is told there, once and in order."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.sql.flows import Row, complete, create_flow, fail, poll_and_start, run_row, start, step, step_row
from tests.sql.lifecycle.stand_ins import add_realtime, forget_events, json_time, payload, sent
from tests.support import rows, value


@pytest.fixture(autouse=True)
def _realtime(conn: psycopg.Connection) -> None:
    add_realtime(conn)


def work_off(conn: psycopg.Connection, run_id: uuid.UUID, outputs: dict[str, Any]) -> None:
    """Completes every task that comes up, until none does."""
    while tasks := poll_and_start(conn, "flow"):
        for task in tasks:
            complete(conn, run_id, task.step_slug, outputs[task.step_slug], task.task_index)


def about_step(run: Row, slug: str, status: str) -> dict[str, Any]:
    """What every step event says."""
    return {"event_type": f"step:{status}", "run_id": str(run["run_id"]), "step_slug": slug, "status": status}


def about_run(run: Row, status: str) -> dict[str, Any]:
    """What every run event says."""
    return {"event_type": f"run:{status}", "run_id": str(run["run_id"]), "flow_slug": "flow", "status": status}


def test_run_started(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", "b")
    run = run_row(conn, start(conn, "flow", {"n": [1, None]}))
    assert payload(conn, "run:started") == {
        **about_run(run, "started"),
        "input": {"n": [1, None]},
        "remaining_steps": 2,
        "started_at": json_time(conn, run["started_at"]),
    }


@pytest.mark.parametrize(("output", "told"), [({"x": 0}, {"x": 0}), (None, None), (False, False)])
def test_run_completed_and_step_completed(conn: psycopg.Connection, output: Any, told: Any) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    work_off(conn, run_id, {"a": output})
    run, state = run_row(conn, run_id), step_row(conn, run_id, "a")
    assert payload(conn, "step:a:completed") == {
        **about_step(run, "a", "completed"),
        "output": told,
        "completed_at": json_time(conn, state["completed_at"]),
    }
    assert payload(conn, "run:completed") == {
        **about_run(run, "completed"),
        "output": {"a": told},
        "completed_at": json_time(conn, run["completed_at"]),
    }


def test_run_completed_without_output(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow")
    run = run_row(conn, start(conn, "flow"))
    assert sent(conn) == ["run:started", "run:completed"]
    assert payload(conn, "run:completed")["output"] is None
    assert payload(conn, "run:completed")["completed_at"] == json_time(conn, run["completed_at"])


def test_step_started(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2, 3])
    state = step_row(conn, run_id, "m")
    assert payload(conn, "step:m:started") == {
        **about_step(run_row(conn, run_id), "m", "started"),
        "started_at": json_time(conn, state["started_at"]),
        "remaining_tasks": 3,
        "remaining_deps": 0,
    }


def test_a_map_tells_its_whole_output(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    work_off(conn, run_id, {"m": "out"})
    assert payload(conn, "step:m:completed")["output"] == ["out", "out"]


def test_step_failed_and_run_failed(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a", "boom")
    run, state = run_row(conn, run_id), step_row(conn, run_id, "a")
    assert sent(conn) == ["run:started", "step:a:started", "step:a:failed", "run:failed"]
    assert payload(conn, "step:a:failed") == {
        **about_step(run, "a", "failed"),
        "error_message": "boom",
        "failed_at": json_time(conn, state["failed_at"]),
    }
    assert payload(conn, "run:failed") == {
        **about_run(run, "failed"),
        "error_message": "boom",
        "failed_at": json_time(conn, run["failed_at"]),
    }


def test_a_condition_that_fails_the_run_tells_the_step_then_the_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", required_input_pattern={"x": 1}, when_unmet="fail"))
    run = run_row(conn, start(conn, "flow"))
    assert sent(conn) == ["run:started", "step:a:failed", "run:failed"]
    assert payload(conn, "step:a:failed")["error_message"] == "Condition not met"
    assert payload(conn, "run:failed") == {
        **about_run(run, "failed"),
        "error_message": "Condition not met",
        "failed_at": json_time(conn, run["failed_at"]),
    }


@pytest.mark.parametrize("when_unmet", ["skip", "skip-cascade"])
def test_step_skipped_by_its_condition(conn: psycopg.Connection, when_unmet: str) -> None:
    create_flow(conn, "flow", step("a", required_input_pattern={"x": 1}, when_unmet=when_unmet), "b")
    run_id = start(conn, "flow")
    assert payload(conn, "step:a:skipped") == {
        **about_step(run_row(conn, run_id), "a", "skipped"),
        "flow_slug": "flow",
        "skip_reason": "condition_unmet",
        "skipped_at": json_time(conn, step_row(conn, run_id, "a")["skipped_at"]),
    }


@pytest.mark.parametrize("when_exhausted", ["skip", "skip-cascade"])
def test_step_skipped_by_its_handler(conn: psycopg.Connection, when_exhausted: str) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1, when_exhausted=when_exhausted), "b")
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a", "boom")
    assert payload(conn, "step:a:skipped") == {
        **about_step(run_row(conn, run_id), "a", "skipped"),
        "skip_reason": "handler_failed",
        "error_message": "boom",
        "skipped_at": json_time(conn, step_row(conn, run_id, "a")["skipped_at"]),
    }


def test_a_dependent_step_skipped_by_a_handler(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1, when_exhausted="skip-cascade"), step("b", "a"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a", "boom")
    assert payload(conn, "step:b:skipped") == {
        **about_step(run_row(conn, run_id), "b", "skipped"),
        "flow_slug": "flow",
        "skip_reason": "dependency_skipped",
        "skipped_at": json_time(conn, step_row(conn, run_id, "b")["skipped_at"]),
    }


def test_every_event_goes_to_the_runs_topic_and_is_not_private(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    work_off(conn, run_id, {"a": 1})
    assert rows(conn, "select distinct topic, private from realtime.sent") == [(f"pgflow:run:{run_id}", False)]


def test_the_events_of_a_whole_run_come_in_the_order_of_the_changes(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        "list",
        step("unmet", required_input_pattern={"x": 1}),
        step("each", "list", step_type="map"),
        step("sum", "each", "unmet"),
    )
    run_id = start(conn, "flow")
    work_off(conn, run_id, {"list": [1, 2], "each": 0, "sum": 0})
    assert sent(conn) == [
        "run:started",
        "step:unmet:skipped",
        "step:list:started",
        "step:list:completed",
        "step:each:started",
        "step:each:completed",
        "step:sum:started",
        "step:sum:completed",
        "run:completed",
    ]


def test_steps_that_start_together_are_told_one_by_one(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "b", "a")
    start(conn, "flow")
    assert sent(conn) == ["run:started", "step:a:started", "step:b:started"]


def test_one_completion_tells_all_that_follows_from_it_in_order(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        "a",
        step("no", "a", required_input_pattern={"a": 1}),
        step("empty", "a", step_type="map"),
        step("after", "empty", "no"),
    )
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    forget_events(conn)
    complete(conn, run_id, "a", [])
    assert sent(conn) == ["step:a:completed", "step:no:skipped", "step:empty:completed", "step:after:started"]


def test_a_retry_tells_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", base_delay=0))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    forget_events(conn)
    fail(conn, run_id, "a")
    poll_and_start(conn, "flow")
    assert sent(conn) == []


def test_a_task_of_a_map_that_goes_on_tells_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"))
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    forget_events(conn)
    complete(conn, run_id, "m", 1)
    assert sent(conn) == []


def test_events_are_part_of_the_transaction(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    with conn.transaction(force_rollback=True):
        start(conn, "flow")
        assert sent(conn) == ["run:started", "step:a:started"]
    assert sent(conn) == []


def test_without_realtime_everything_works_and_nothing_is_told(conn: psycopg.Connection) -> None:
    conn.execute("drop schema realtime cascade")
    create_flow(conn, "flow", "a")
    run_id = start(conn, "flow")
    work_off(conn, run_id, {"a": 1})
    assert run_row(conn, run_id)["status"] == "completed"


def test_a_schema_realtime_without_send_is_none(conn: psycopg.Connection) -> None:
    conn.execute("drop function realtime.send")
    create_flow(conn, "flow", "a")
    start(conn, "flow")
    assert value(conn, "select count(*) from realtime.sent") == 0
