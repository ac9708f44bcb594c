"""start_flows: many runs at once, by key, later, all or none."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Run
from tests.sql.engine.work import add_our_worker, completed, poll, poll_all, poll_one, run, settle
from tests.sql.flows import create_flow, fail, queued, run_row, run_status, start, start_tasks, step, step_status
from tests.support import rows, value


def start_all(conn: psycopg.Connection, *inputs: Any, slug: str = "flow", **options: Any) -> list[Run]:
    return run(conn, calls.start_flows(slug, [json.dumps(i).encode() for i in inputs], **options))


def count(conn: psycopg.Connection, table: str) -> int:
    return int(value(conn, f"select count(*) from {table}"))


def test_runs_come_back_in_the_order_of_the_inputs(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", "a"))
    runs = start_all(conn, {"n": 1}, {"n": 2}, {"n": 3})
    assert [r.input for r in runs] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert {(r.flow_slug, r.status, r.remaining_steps) for r in runs} == {("flow", "started", 2)}
    assert len({r.run_id for r in runs}) == 3
    tasks = poll(conn, add_our_worker(conn))
    assert {t.run_id: json.loads(t.flow_input) for t in tasks} == {r.run_id: r.input for r in runs}


def test_no_inputs_no_runs(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    assert start_all(conn) == []


@pytest.mark.parametrize("input_", [None, 0, "", False, [], {}])
def test_any_json_is_an_input(conn: psycopg.Connection, input_: Any) -> None:
    create_flow(conn, "flow", "a")
    (started,) = start_all(conn, input_)
    assert run_row(conn, started.run_id)["input"] == input_


def test_a_run_is_as_start_flow_makes_it(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("m", step_type="map"), step("b", "a", "m"), step("n", "m", step_type="map"))
    theirs = start(conn, "flow", [1, 2])
    (ours,) = start_all(conn, [1, 2])
    for table, columns in {
        "runs": "flow_slug, status, input, remaining_steps, completed_at, failed_at",
        "step_states": "step_slug, status, remaining_tasks, initial_tasks, remaining_deps",
        "step_tasks": "step_slug, task_index, status, attempts_count, input, fence",
    }.items():
        sql = f"select {columns} from pgflow.{table} where run_id = %s order by 1, 2"
        assert rows(conn, sql, ours.run_id) == rows(conn, sql, theirs), table


def test_new_ids_begin_with_the_time_so_that_history_makes_no_start_dearer(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    before = value(conn, "select floor(extract(epoch from clock_timestamp()) * 1000)::bigint")
    first = [run_.run_id for run_ in run(conn, calls.start_flows("flow", [b"1"] * 50))]
    conn.execute("select pg_sleep(0.002)")
    second = [run_.run_id for run_ in run(conn, calls.start_flows("flow", [b"1"] * 50))]
    after = value(conn, "select ceil(extract(epoch from clock_timestamp()) * 1000)::bigint")
    assert {(id_.version, id_.variant) for id_ in first + second} == {(7, uuid.RFC_4122)}
    assert all(before <= id_.int >> 80 <= after for id_ in first + second)
    assert max(first) < min(second)
    assert len({id_.int & (1 << 62) - 1 for id_ in first + second}) == 100  # the rest is random


def test_run_ids_are_taken(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    ids = [uuid.uuid4() for _ in range(5)]
    runs = start_all(conn, *range(5), run_ids=ids)
    assert [(r.run_id, r.input) for r in runs] == list(zip(ids, range(5), strict=True))


def test_a_run_id_that_exists_is_refused_and_nothing_is_started(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    taken = start(conn, "flow")
    with pytest.raises(psycopg.errors.UniqueViolation):
        start_all(conn, 1, 2, run_ids=[uuid.uuid4(), taken])
    assert count(conn, "pgflow.runs") == 1


def test_an_unknown_flow_is_named(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="Flow not found: nowhere"):
        start_all(conn, 1, slug="nowhere")


def test_a_flow_without_steps_completes_at_once(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow")
    assert [(r.status, r.output) for r in start_all(conn, 1, 2)] == [("completed", None)] * 2


def test_cascades_go_through_all_runs(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("m", step_type="map"),
        step("n", "m", step_type="map"),
        step("c", "n", required_input_pattern={"n": [1]}),
    )
    empty, full = start_all(conn, [], [1])
    assert (empty.status, full.status) == ("completed", "started")
    assert step_status(conn, empty.run_id) == {"m": "completed", "n": "completed", "c": "skipped"}
    assert step_status(conn, full.run_id) == {"m": "started", "n": "created", "c": "created"}


def test_a_condition_that_fails_one_run_fails_only_that(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", required_input_pattern={"ok": True}, when_unmet="fail"))
    runs = start_all(conn, {"ok": True}, {"ok": False}, {"ok": True})
    assert [(r.status, r.error) for r in runs] == [
        ("started", None),
        ("failed", "Condition not met"),
        ("started", None),
    ]
    assert {t.run_id for t in poll(conn, add_our_worker(conn))} == {runs[0].run_id, runs[2].run_id}


# ------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize(
    ("bad", "got"),
    [({"x": 1}, r"is not an array \(got object\)"), (None, r"is not an array \(got null\)"), (3, "got number")],
)
def test_a_bad_input_is_named_by_its_index_and_nothing_is_started(conn: psycopg.Connection, bad: Any, got: str) -> None:
    create_flow(conn, "flow", "a", step("m", step_type="map"))
    with pytest.raises(psycopg.errors.RaiseException, match=f"Input 2: Flow flow has root map steps but input.*{got}"):
        start_all(conn, [1], [], bad, "worse")
    assert [count(conn, t) for t in ("pgflow.runs", "pgflow.step_states", "pgmq.q_flow")] == [0, 0, 0]


def test_a_null_input_is_named_by_its_index(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    with pytest.raises(psycopg.errors.RaiseException, match="Input 1: is NULL"):
        conn.execute("select pgflow.start_flows('flow', array['1', null]::jsonb[])")
    assert count(conn, "pgflow.runs") == 0


@pytest.mark.parametrize("options", [{"run_ids": [uuid.uuid4()]}, {"keys": ["a", "b", "c"]}])
def test_as_many_ids_and_keys_as_inputs_are_needed(conn: psycopg.Connection, options: dict[str, Any]) -> None:
    create_flow(conn, "flow", "a")
    with pytest.raises(psycopg.errors.RaiseException, match="must be as many as inputs"):
        start_all(conn, 1, 2, **options)


# ------------------------------------------------------------------------------- keys


def test_a_key_has_one_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    (first,) = start_all(conn, {"n": 1}, keys=["k"])
    (second,) = start_all(conn, {"n": 2}, keys=["k"], run_ids=[uuid.uuid4()])
    assert (second.run_id, second.input) == (first.run_id, {"n": 1})
    assert (count(conn, "pgflow.runs"), len(queued(conn, "flow"))) == (1, 1)


def test_a_key_given_twice_in_a_call_has_one_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    a, b, c, d = start_all(conn, 1, 2, 3, 4, keys=["k", "j", "k", "j"])
    assert (a.run_id, b.run_id) == (c.run_id, d.run_id)
    assert (a.input, b.input) == (1, 2)
    assert (count(conn, "pgflow.runs"), len(queued(conn, "flow"))) == (2, 2)


def test_old_and_new_keys_and_none_in_one_call(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    (old,) = start_all(conn, "old", keys=["k"])
    runs = start_all(conn, 1, 2, 3, 4, keys=["z", None, "k", None])
    assert [r.input for r in runs] == [1, 2, "old", 4]
    assert runs[2].run_id == old.run_id
    assert len({r.run_id for r in runs}) == 4


def test_a_key_gives_its_run_also_when_that_has_ended(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", max_attempts=1)
    (first,) = start_all(conn, 1, keys=["k"])
    start_tasks(conn, "flow", [value(conn, "select msg_id from pgmq.q_flow")], uuid.uuid4())
    fail(conn, first.run_id, "a")
    (again,) = start_all(conn, 1, keys=["k"])
    assert (again.run_id, again.status) == (first.run_id, "failed")


def test_keys_are_unique_per_flow(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    create_flow(conn, "other", "a")
    (one,) = start_all(conn, 1, keys=["k"])
    (two,) = start_all(conn, 1, keys=["k"], slug="other")
    assert one.run_id != two.run_id


def test_at_repeatable_read_a_key_that_appeared_meanwhile_is_a_serialization_failure(
    conn: psycopg.Connection, dsn: str
) -> None:
    create_flow(conn, "flow", "a")
    with psycopg.connect(dsn) as late:
        late.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        count(late, "pgflow.runs")
        start_all(conn, 1, keys=["k"])
        with pytest.raises(psycopg.errors.SerializationFailure):
            start_all(late, 1, keys=["k"])


# ------------------------------------------------------------------------------- start_at


def test_no_task_of_a_delayed_run_is_visible_before_its_time(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", step("b", start_delay=50))
    (delayed,) = start_all(conn, 1, start_at=datetime.now(UTC) + timedelta(seconds=100))
    polled = poll_all(conn, add_our_worker(conn))
    assert (delayed.status, polled.tasks) == ("started", ())
    assert 95 < polled.next_visible_in <= 100
    sql = "select extract(epoch from q.vt - r.start_at)::int from pgmq.q_flow q, pgflow.runs r order by q.vt"
    assert rows(conn, sql) == [(0,), (50,)]


def test_a_delayed_run_waits_also_behind_taskless_and_skipped_steps(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("m", step_type="map"),
        step("skipped", required_input_pattern={"x": 1}),
        step("a", "m"),
        step("b", "skipped"),
    )
    start_all(conn, [], start_at=datetime.now(UTC) + timedelta(seconds=100))
    assert queued(conn, "flow") == [("a", 0), ("b", 0)]
    assert value(conn, "select bool_and(q.vt = r.start_at) from pgmq.q_flow q, pgflow.runs r")


def test_a_time_that_has_passed_delays_nothing(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    (started,) = start_all(conn, 1, start_at=datetime.now(UTC) - timedelta(days=1))
    worker = add_our_worker(conn)
    assert settle(conn, worker, completed(poll_one(conn, worker))) == ["applied"]
    assert run_status(conn, started.run_id) == "completed"
