"""Where pgflow 0.14 errs, by the contract, and we must not: one fault after the other, in its order (section 12)."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.flows import (
    Step,
    add_worker,
    archived,
    call,
    complete,
    create_flow,
    fail,
    make_visible,
    poll_and_start,
    queued,
    run_row,
    run_status,
    start,
    start_tasks,
    step,
    step_row,
    step_status,
    task_row,
    task_status,
)
from tests.sql.lifecycle.stand_ins import add_realtime, sent
from tests.support import rows, value

UNMET: dict[str, Any] = {"required_input_pattern": {"never": True}}
AS_MAP: dict[str, Any] = {"step_type": "map"}


def pages_read(conn: psycopg.Connection, sql: str, *args: Any) -> int:
    """How many pages a statement touches, all functions that it calls included."""
    plan = value(conn, f"explain (analyze, buffers, format json) {sql}", *args)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


# ------------------------------------------------------------------- a dependent map of N elements costs N²


def pages_of_one_start(conn: psycopg.Connection, slug: str, elements: int) -> int:
    """What it takes to start one task of a dependent map of so many elements."""
    create_flow(conn, slug, "list", step("m", "list", step_type="map"))
    run_id = start(conn, slug)
    poll_and_start(conn, slug)
    complete(conn, run_id, "list", [secrets.token_hex(200) for _ in range(elements)])
    worker_id = add_worker(conn, slug)
    warm, measured = (task_row(conn, run_id, "m", index)["message_id"] for index in (0, elements - 1))
    start_tasks(conn, slug, [warm], worker_id)
    conn.execute("vacuum analyze")
    return pages_read(conn, "select * from pgflow.start_tasks(%s, array[%s::bigint], %s)", slug, measured, worker_id)


def test_starting_a_map_task_does_not_take_the_whole_array_apart(conn: psycopg.Connection) -> None:
    pages_of_one_start(conn, "warm", 3)
    small, large = pages_of_one_start(conn, "small", 20), pages_of_one_start(conn, "large", 20_000)
    assert large < small + 200  # its array alone has some 900


# ------------------------------------------------------------------- skip-cascade walks every path


def diamonds(count: int, first: Step) -> list[Step]:
    """So many diamonds in a row behind `first`: 2^count paths."""
    steps, top = [first], first.slug
    for n in range(count):
        steps += [step(f"l{n}", top), step(f"r{n}", top), step(f"j{n}", f"l{n}", f"r{n}")]
        top = f"j{n}"
    return steps


@pytest.mark.parametrize("how", ["condition", "handler", "force"])
def test_skip_cascade_visits_each_step_once_not_each_path(conn: psycopg.Connection, how: str) -> None:
    add_realtime(conn)
    options: dict[str, Any] = {
        "condition": {"when_unmet": "skip-cascade", **UNMET},
        "handler": {"when_exhausted": "skip-cascade", "max_attempts": 1},
        "force": {},
    }[how]
    steps = diamonds(30, step("top", **options))
    create_flow(conn, "flow", *steps)
    run_id = start(conn, "flow")
    if how == "handler":
        poll_and_start(conn, "flow")
        fail(conn, run_id, "top")
    if how == "force":
        conn.execute("select pgflow._cascade_force_skip_steps(%s, 'top', 'by hand')", (run_id,))
    skipped = [event for event in sent(conn) if event.endswith(":skipped")]
    assert skipped == [f"step:{s.slug}:skipped" for s in steps]
    assert run_row(conn, run_id)["remaining_steps"] == 0
    assert run_status(conn, run_id) == ("started" if how == "force" else "completed")


# ------------------------------------------------------------------- more than 50 empty maps in a chain


def test_a_chain_of_sixty_empty_maps_completes(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m0", **AS_MAP), *(step(f"m{n}", f"m{n - 1}", **AS_MAP) for n in range(1, 60)))
    run_id = start(conn, "flow", [])
    assert (run_status(conn, run_id), run_row(conn, run_id)["output"]) == ("completed", {"m59": []})


# ------------------------------------------------------------------- conditional steps that start unjudged


def test_a_step_behind_an_empty_root_map_is_judged(conn: psycopg.Connection) -> None:
    met = step("met", "m", forbidden_input_pattern={"m": [1]})
    create_flow(conn, "flow", step("m", **AS_MAP), step("c", "m", **UNMET), met)
    assert step_status(conn, start(conn, "flow", [])) == {"m": "completed", "c": "skipped", "met": "started"}


def test_a_step_behind_a_map_that_turns_out_empty_is_judged(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", **AS_MAP), step("c", "m", **UNMET))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", [])
    assert step_status(conn, run_id) == {"a": "completed", "m": "completed", "c": "skipped"}
    assert run_status(conn, run_id) == "completed"


def test_a_step_behind_one_skipped_by_when_exhausted_is_judged(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", when_exhausted="skip", max_attempts=1), step("c", "a", **UNMET))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a")
    assert step_status(conn, run_id) == {"a": "skipped", "c": "skipped"}
    assert step_row(conn, run_id, "c")["skip_reason"] == "condition_unmet"


def test_an_unmet_step_behind_an_empty_map_can_fail_the_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "other", step("m", **AS_MAP), step("c", "m", when_unmet="fail", **UNMET))
    run_id = start(conn, "flow", [])
    assert step_status(conn, run_id) == {"other": "created", "m": "completed", "c": "failed"}
    assert (run_status(conn, run_id), queued(conn, "flow")) == ("failed", [])


def test_judging_and_completing_take_turns_until_nothing_changes(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("m1", **AS_MAP),
        step("c1", "m1", **UNMET),
        step("m2", "c1", **AS_MAP),
        step("c2", "m2", **UNMET),
        step("m3", "c2", **AS_MAP),
        step("last", "m3", required_input_pattern={"m3": []}),
    )
    run_id = start(conn, "flow", [])
    assert step_status(conn, run_id) == {
        "m1": "completed",
        "c1": "skipped",
        "m2": "completed",
        "c2": "skipped",
        "m3": "completed",
        "last": "started",
    }


@pytest.mark.parametrize("when_unmet", ["skip", "skip-cascade", "fail"])
@pytest.mark.parametrize("kind", ["single", "map"])
def test_no_function_starts_or_completes_a_step_unjudged(conn: psycopg.Connection, when_unmet: str, kind: str) -> None:
    create_flow(conn, "flow", step("c", step_type=kind))
    conn.execute("insert into pgflow.runs (flow_slug, input, remaining_steps) values ('flow', '[]', 1)")
    conn.execute(
        """insert into pgflow.step_states (flow_slug, run_id, step_slug, initial_tasks)
           select flow_slug, run_id, 'c', %s from pgflow.runs""",
        (0 if kind == "map" else 1,),
    )
    conn.execute("update pgflow.steps set required_input_pattern = '{\"x\": 1}', when_unmet = %s", (when_unmet,))
    run_id = value(conn, "select run_id from pgflow.runs")
    conn.execute("select pgflow.cascade_complete_taskless_steps(%s)", (run_id,))
    conn.execute("select pgflow.start_ready_steps(%s)", (run_id,))
    assert step_status(conn, run_id) == {"c": "created"}


# ------------------------------------------------------------------- the same dependency given twice


def test_a_dependency_given_twice_counts_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a", "a"))
    assert value(conn, "select deps_count from pgflow.steps where step_slug = 'b'") == 1
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert step_status(conn, run_id)["b"] == "started"


def test_a_map_may_be_given_its_dependency_twice(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", "a", **AS_MAP))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", [1])
    assert step_status(conn, run_id)["m"] == "started"


# ------------------------------------------------------------------- siblings left under a finished run


@pytest.mark.parametrize("when_exhausted", ["fail", "skip", "skip-cascade"])
def test_a_sibling_keeps_its_status_but_is_dead(conn: psycopg.Connection, when_exhausted: str) -> None:
    create_flow(conn, "flow", step("m", max_attempts=1, when_exhausted=when_exhausted, **AS_MAP))
    run_id = start(conn, "flow", [1, 2, 3])
    poll_and_start(conn, "flow", qty=2)
    fail(conn, run_id, "m")
    assert run_status(conn, run_id) == ("failed" if when_exhausted == "fail" else "completed")
    assert task_status(conn, run_id, "m") == ["failed", "started", "queued"]
    assert (queued(conn, "flow"), len(archived(conn, "flow"))) == ([], 3)


@pytest.mark.parametrize("when_exhausted", ["fail", "skip", "skip-cascade"])
def test_a_dead_sibling_can_never_be_started(conn: psycopg.Connection, when_exhausted: str) -> None:
    create_flow(conn, "flow", step("m", max_attempts=1, when_exhausted=when_exhausted, **AS_MAP))
    run_id = start(conn, "flow", [1, 2])
    msg_ids = [msg_id for (msg_id,) in rows(conn, "select message_id from pgflow.step_tasks")]
    worker_id = add_worker(conn, "flow")
    first = task_row(conn, run_id, "m", 0)["message_id"]
    start_tasks(conn, "flow", [first], worker_id)
    fail(conn, run_id, "m")
    conn.execute(
        """with back as (delete from pgmq.a_flow returning msg_id, vt, message)
           insert into pgmq.q_flow (msg_id, vt, message) overriding system value select * from back"""
    )
    make_visible(conn, "flow")
    assert start_tasks(conn, "flow", msg_ids, worker_id) == []
    polled = rows(conn, "select step_slug from pgflow.poll_tasks('{flow}', %s, 10, 30)", worker_id)
    assert polled == [(None,)]
    assert task_status(conn, run_id, "m") == ["failed", "queued"]


# ------------------------------------------------------------------- a task that stalled three times


def given_up(conn: psycopg.Connection, when_exhausted: str) -> uuid.UUID:
    """A run whose task of `a` has stalled three times and now is started for too long again."""
    create_flow(conn, "flow", step("a", when_exhausted=when_exhausted), step("b", "a"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute(
        """update pgflow.step_tasks set requeued_count = 3, queued_at = now() - interval '2 hours',
             started_at = now() - interval '1 hour'"""
    )
    assert value(conn, "select pgflow.requeue_stalled_tasks()") == 0
    assert task_status(conn, run_id, "a") == ["started"]
    return run_id


@pytest.mark.parametrize(
    ("when_exhausted", "run", "steps"),
    [
        ("fail", "failed", {"a": "failed", "b": "created"}),
        ("skip", "started", {"a": "skipped", "b": "started"}),
        ("skip-cascade", "completed", {"a": "skipped", "b": "skipped"}),
    ],
)
def test_what_stalled_three_times_fails_its_step_by_when_exhausted(
    conn: psycopg.Connection, when_exhausted: str, run: str, steps: dict[str, str]
) -> None:
    run_id = given_up(conn, when_exhausted)
    assert value(conn, "select pgflow.fail_stalled_tasks()") == 1
    assert (run_status(conn, run_id), step_status(conn, run_id)) == (run, steps)
    task = task_row(conn, run_id, "a")
    assert (task["status"], task["error_message"]) == ("failed", "Task stalled 3 times")
    assert step_row(conn, run_id, "a")["error_message"] == "Task stalled 3 times"
    assert value(conn, "select pgflow.fail_stalled_tasks()") == 0


def test_a_stalled_task_that_completes_after_all_is_not_failed(conn: psycopg.Connection) -> None:
    run_id = given_up(conn, "fail")
    complete(conn, run_id, "a", 1)
    assert value(conn, "select pgflow.fail_stalled_tasks()") == 0
    assert step_status(conn, run_id) == {"a": "completed", "b": "started"}


# ------------------------------------------------------------------- stalling judged by the flow's timeout


@pytest.mark.parametrize(("of_flow", "of_step", "requeued"), [(10, 600, 0), (600, 10, 1)])
def test_stalling_is_judged_by_the_steps_own_timeout(
    conn: psycopg.Connection, of_flow: int, of_step: int, requeued: int
) -> None:
    create_flow(conn, "flow", step("a", timeout=of_step), timeout=of_flow)
    start(conn, "flow")
    poll_and_start(conn, "flow")
    conn.execute(
        "update pgflow.step_tasks set queued_at = now() - interval '1 hour', started_at = now() - interval '60 seconds'"
    )
    assert value(conn, "select pgflow.requeue_stalled_tasks()") == requeued


# ------------------------------------------------------------------- a task claimed twice


def test_of_two_workers_with_one_message_only_one_gets_the_task(conn: psycopg.Connection, dsn: str) -> None:
    create_flow(conn, "flow", "a", "b")
    run_id = start(conn, "flow")
    msg_ids = [msg_id for (msg_id,) in rows(conn, "select message_id from pgflow.step_tasks order by 1")]
    winner, loser = add_worker(conn, "flow"), add_worker(conn, "flow")
    with psycopg.connect(dsn) as other:
        assert [t.step_slug for t in start_tasks(other, "flow", msg_ids[:1], winner)] == ["a"]
        assert [t.step_slug for t in start_tasks(conn, "flow", msg_ids, loser)] == ["b"]
    assert start_tasks(conn, "flow", msg_ids, loser) == []
    assert [task_row(conn, run_id, slug)["last_worker_id"] for slug in "ab"] == [winner, loser]
    assert [task_row(conn, run_id, slug)["attempts_count"] for slug in "ab"] == [1, 1]


# ------------------------------------------------------------------- queue names


def test_slugs_that_differ_only_in_case_are_refused(conn: psycopg.Connection) -> None:
    create_flow(conn, "MyFlow")
    with pytest.raises(psycopg.errors.UniqueViolation, match='"myflow" differs only in case from flow "MyFlow"'):
        create_flow(conn, "myflow")
    assert rows(conn, "select flow_slug from pgflow.flows") == [("MyFlow",)]


def test_a_slug_too_long_for_a_queue_is_refused_with_the_reason(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="too long for a queue name: 48 characters, at most 47"):
        create_flow(conn, "a" * 48)
    assert rows(conn, "select flow_slug from pgflow.flows") == []


def test_a_slug_of_47_characters_works(conn: psycopg.Connection) -> None:
    slug = "a" * 47
    create_flow(conn, slug, "s")
    run_id = start(conn, slug)
    poll_and_start(conn, slug)
    complete(conn, run_id, "s", 1)
    assert run_status(conn, run_id) == "completed"


def test_a_flow_with_capitals_works(conn: psycopg.Connection) -> None:
    create_flow(conn, "MyFlow", step("s", base_delay=0))
    run_id = start(conn, "MyFlow")
    poll_and_start(conn, "MyFlow")
    fail(conn, run_id, "s")
    poll_and_start(conn, "MyFlow")
    complete(conn, run_id, "s", 1)
    assert (run_status(conn, run_id), archived(conn, "MyFlow")) == ("completed", [("s", 0)])


def test_an_invalid_slug_still_fails_by_its_constraint(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="slug_is_valid"):
        create_flow(conn, "1" * 48)


# ------------------------------------------------------------------- unknown and empty flows


def test_an_unknown_flow_is_named(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as refused:
        start(conn, "nowhere")
    assert (refused.value.diag.message_primary, refused.value.sqlstate) == ("Flow not found: nowhere", "23503")


def test_a_flow_without_steps_completes_at_once_without_output(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow")
    run = call(conn, "start_flow", flow_slug="flow", input={})[0]
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", None, 0)


# ------------------------------------------------------------------- runs say why they failed


def test_a_run_says_which_error_of_a_handler_failed_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a", "boom")
    assert run_row(conn, run_id)["error_message"] == "boom"


def test_a_run_says_that_a_condition_failed_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", when_unmet="fail", **UNMET))
    assert run_row(conn, start(conn, "flow"))["error_message"] == "Condition not met"


def test_a_run_says_that_a_type_violation_failed_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", "a", **AS_MAP))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", 1)
    assert run_row(conn, run_id)["error_message"] == step_row(conn, run_id, "a")["error_message"] is not None


def test_a_run_that_did_not_fail_has_no_error(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", max_attempts=1, when_exhausted="skip"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "a")
    assert (run_status(conn, run_id), run_row(conn, run_id)["error_message"]) == ("completed", None)


# ------------------------------------------------------------------- falsy outputs

FALSY = [0, "", False, [], {}]


@pytest.mark.parametrize("output", FALSY)
def test_a_falsy_output_is_stored_as_it_is(conn: psycopg.Connection, output: Any) -> None:
    create_flow(conn, "flow", "a", step("b", "a", required_input_pattern={"a": output}))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    assert complete(conn, run_id, "a", output)["output"] == output
    assert value(conn, "select output = %s from pgflow.step_states where step_slug = 'a'", Jsonb(output))
    assert [t.input for t in poll_and_start(conn, "flow")] == [{"a": output}]
    complete(conn, run_id, "b", output)
    assert run_row(conn, run_id)["output"] == {"b": output}


def test_a_map_keeps_falsy_elements_and_outputs(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", **AS_MAP))
    run_id = start(conn, "flow", FALSY)
    tasks = poll_and_start(conn, "flow")
    assert [t.input for t in tasks] == FALSY
    for task in tasks:
        complete(conn, run_id, "m", task.input, task.task_index)
    assert run_row(conn, run_id)["output"] == {"m": FALSY}


@pytest.mark.parametrize(("output", "is_sql_null"), [(None, True), (Jsonb(None), False)])
def test_only_sql_null_is_null(conn: psycopg.Connection, output: Any, is_sql_null: bool) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", output)
    assert value(conn, "select output is null from pgflow.step_tasks where step_slug = 'a'") is is_sql_null
    assert value(conn, "select output is null from pgflow.step_states where step_slug = 'a'") is is_sql_null
