"""Schedules in SQL: a slot fires once, whoever tries; what code declares is kept apart from what people make."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgflow import calls
from pgflow.flow.schedule import Schedule as Declared
from pgflow.records import DueSchedule, Run, Schedule
from tests.sql.engine.work import run
from tests.sql.flows import create_flow, step
from tests.support import rows, value

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def add(conn: psycopg.Connection, name: str = "s", **options: Any) -> Schedule:
    """A schedule of every minute that was made at noon."""
    given = {"flow_slug": "flow", "cron": "* * * * *", "time_zone": "UTC", "input": b'{"n": 1}', "catch_up": "last"}
    made = run(conn, calls.add_schedule(name, **{**given, **options}))
    rewind(conn, NOON)
    return made


def rewind(conn: psycopg.Connection, until: datetime) -> None:
    conn.execute("update pgflow.schedules set done_until = %s, next_at = '-infinity'", (until,))


def due(conn: psycopg.Connection, now: datetime) -> DueSchedule:
    (found,) = run(conn, calls.due_schedules(0, now=now))
    return found


def fire(conn: psycopg.Connection, seen: DueSchedule, *slots: datetime, **options: Any) -> list[Run]:
    return run(conn, calls.fire_schedule(seen, slots, seen.now + MINUTE, **options))


@pytest.fixture
def flow(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")


def test_a_slot_starts_a_run_that_bears_it_as_its_key(conn: psycopg.Connection, flow: None) -> None:
    add(conn, "nightly.1")
    (started,) = fire(conn, due(conn, NOON + MINUTE), NOON + MINUTE)
    assert (started.flow_slug, started.input, started.status) == ("flow", {"n": 1}, "started")
    assert started.key == "schedule:nightly.1:2026-01-01T12:01:00Z"
    (listed,) = run(conn, calls.list_schedules())
    assert (listed.last_slot, listed.last_run_id, listed.next_at) == (NOON + MINUTE, started.run_id, NOON + 2 * MINUTE)
    assert run(conn, calls.due_schedules(0, now=NOON + MINUTE)) == []


def test_the_slots_time_is_named_in_utc_whatever_the_connections_zone(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    conn.execute("set time zone 'Asia/Kolkata'")
    (started,) = fire(conn, due(conn, NOON + MINUTE), NOON + MINUTE)
    assert started.key == "schedule:s:2026-01-01T12:01:00Z"


def test_many_who_fire_one_slot_start_one_run(dsn: str, conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    seen = due(conn, NOON + MINUTE)

    def fire_too(_: int) -> list[Run]:
        with psycopg.connect(dsn, autocommit=True) as other:
            return fire(other, seen, NOON + MINUTE)

    with ThreadPoolExecutor(8) as pool:
        fired = list(pool.map(fire_too, range(8)))
    assert sorted(map(len, fired)) == [0] * 7 + [1]
    assert value(conn, "select count(*) from pgflow.runs") == 1


def test_a_slot_is_not_fired_again_even_if_the_clock_goes_back(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    fire(conn, due(conn, NOON + MINUTE), NOON + MINUTE)
    rewind(conn, NOON)
    again = fire(conn, due(conn, NOON + 2 * MINUTE), NOON + MINUTE, NOON + 2 * MINUTE)
    assert [r.key for r in again] == ["schedule:s:2026-01-01T12:02:00Z"]
    assert value(conn, "select count(*) from pgflow.runs") == 2


def test_the_run_and_the_slot_are_there_together_or_not_at_all(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    seen = due(conn, NOON + MINUTE)
    with conn.transaction(force_rollback=True):
        assert len(fire(conn, seen, NOON + MINUTE)) == 1
    assert rows(conn, "select * from pgflow.schedule_slots") == rows(conn, "select * from pgflow.runs") == []
    assert len(fire(conn, seen, NOON + MINUTE)) == 1


def test_who_reckoned_from_an_old_row_fires_nothing(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    seen = due(conn, NOON + MINUTE)
    rewind(conn, NOON - MINUTE)
    assert fire(conn, seen, NOON + MINUTE) == []
    assert value(conn, "select done_until from pgflow.schedules") == NOON - MINUTE


def test_a_slot_that_cannot_be_started_is_said_so_until_one_can(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    assert fire(conn, due(conn, NOON + MINUTE), error="no such flow") == []
    assert run(conn, calls.list_schedules())[0].error == "no such flow"
    fire(conn, due(conn, NOON + 2 * MINUTE))
    assert run(conn, calls.list_schedules())[0].error == "no such flow"
    fire(conn, due(conn, NOON + 3 * MINUTE), NOON + 3 * MINUTE)
    assert run(conn, calls.list_schedules())[0].error is None


def test_only_the_latest_slots_are_kept(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    fire(conn, due(conn, NOON + 99 * MINUTE), *(NOON + n * MINUTE for n in range(1, 100)))
    assert value(conn, "select count(*) from pgflow.schedule_slots") == 99
    fire(conn, due(conn, NOON + 104 * MINUTE), *(NOON + n * MINUTE for n in range(100, 105)))
    assert rows(conn, "select count(*), min(slot) from pgflow.schedule_slots") == [(100, NOON + 5 * MINUTE)]
    assert value(conn, "select count(*) from pgflow.schedule_slots x join pgflow.runs r using (run_id)") == 100


def test_what_is_due_comes_with_what_is_soon(conn: psycopg.Connection, flow: None) -> None:
    for name in ("soon", "later", "paused"):
        add(conn, name)
    conn.execute("update pgflow.schedules set next_at = %s", (NOON + MINUTE,))
    conn.execute("update pgflow.schedules set next_at = next_at + interval '1 hour' where schedule_name = 'later'")
    run(conn, calls.pause_schedule("paused"))
    (soon,) = run(conn, calls.due_schedules(60, now=NOON))
    assert (soon.name, soon.next_at, soon.now, soon.done_until) == ("soon", NOON + MINUTE, NOON, NOON)
    assert run(conn, calls.due_schedules(59, now=NOON)) == []
    assert {s.name for s in run(conn, calls.due_schedules(0))} == {"soon", "later"}  # the database's own clock


def test_what_comes_in_a_pause_is_not_made_up_for(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    seen = due(conn, NOON + MINUTE)
    paused = run(conn, calls.pause_schedule("s"))
    assert (paused.paused_at is not None, paused.next_at) == (True, None)
    assert run(conn, calls.pause_schedule("s")) == paused
    assert fire(conn, seen, NOON + MINUTE) == []
    resumed = run(conn, calls.resume_schedule("s"))
    assert resumed.paused_at is None
    assert resumed.next_at is not None
    assert value(conn, "select clock_timestamp() - done_until < '1 minute' from pgflow.schedules")
    done_until = value(conn, "select done_until from pgflow.schedules")
    assert run(conn, calls.resume_schedule("s")) == resumed
    assert value(conn, "select done_until from pgflow.schedules") == done_until


def test_running_it_now_is_beside_its_slots(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    run(conn, calls.pause_schedule("s"))
    first, second = (run(conn, calls.run_schedule("s")) for _ in range(2))
    assert (first.input, first.key) == ({"n": 1}, None)
    assert first.run_id != second.run_id
    assert rows(conn, "select * from pgflow.schedule_slots") == []


def test_deleting_keeps_the_runs(conn: psycopg.Connection, flow: None) -> None:
    add(conn)
    fire(conn, due(conn, NOON + MINUTE), NOON + MINUTE)
    assert run(conn, calls.delete_schedule("s")).name == "s"
    assert rows(conn, "select * from pgflow.schedule_slots") == run(conn, calls.list_schedules()) == []
    assert value(conn, "select count(*) from pgflow.runs") == 1


@pytest.mark.parametrize(
    "call", [calls.pause_schedule, calls.resume_schedule, calls.delete_schedule, calls.run_schedule]
)
def test_a_schedule_that_is_not_there_is_said_so(conn: psycopg.Connection, call: Any) -> None:
    with pytest.raises(psycopg.errors.NoDataFound, match="Schedule not found: nope"):
        run(conn, call("nope"))


def test_a_schedule_needs_a_flow_and_a_fitting_input(conn: psycopg.Connection, flow: None) -> None:
    create_flow(conn, "mapping", step("m", step_type="map"))
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="Flow not found: nope"):
        add(conn, flow_slug="nope")
    with pytest.raises(psycopg.errors.RaiseException, match="input is not an array"):
        add(conn, flow_slug="mapping")
    add(conn)
    with pytest.raises(psycopg.errors.RaiseException, match="Schedule s is there already: delete it first"):
        add(conn, cron="0 0 * * *")
    for bad in ({"name": "a b"}, {"catch_up": "some"}):
        with pytest.raises(psycopg.errors.CheckViolation):
            add(conn, **{"name": "t", **bad})
    assert value(conn, "select cron from pgflow.schedules") == "* * * * *"


# ---------------------------------------------------------------------------------------- from code


def declare(conn: psycopg.Connection, *schedules: Declared, slug: str = "flow") -> None:
    run(conn, calls.set_flow_schedules(slug, schedules))


def declared(name: str, cron: str = "* * * * *", **options: Any) -> Declared:
    return Declared(**{"name": name, "cron": cron, "time_zone": "UTC", "input": None, "catch_up": "last", **options})


def test_what_code_declares_is_added_changed_and_removed(conn: psycopg.Connection, flow: None) -> None:
    add(conn, "by_hand")
    declare(conn, declared("one", input={"ü": [1]}), declared("two"))
    assert {(s.name, s.origin, s.flow_slug) for s in run(conn, calls.list_schedules("flow"))} == {
        ("by_hand", "user", "flow"),
        ("one", "code", "flow"),
        ("two", "code", "flow"),
    }
    declare(conn, declared("one", input=5, catch_up="all"))
    assert [(s.name, s.input, s.catch_up) for s in run(conn, calls.list_schedules())] == [
        ("by_hand", {"n": 1}, "last"),
        ("one", 5, "all"),
    ]
    declare(conn)
    assert [s.name for s in run(conn, calls.list_schedules())] == ["by_hand"]


def test_only_another_cron_or_time_zone_begins_anew(conn: psycopg.Connection, flow: None) -> None:
    declare(conn, declared("one"))
    rewind(conn, NOON)
    run(conn, calls.pause_schedule("one"))
    before = rows(conn, "select xmin::text, s::text from pgflow.schedules s")
    declare(conn, declared("one"))
    assert rows(conn, "select xmin::text, s::text from pgflow.schedules s") == before
    declare(conn, declared("one", input=1))
    assert value(conn, "select done_until from pgflow.schedules") == NOON
    declare(conn, declared("one", "0 0 * * *", input=1))
    assert value(conn, "select done_until from pgflow.schedules") > NOON
    rewind(conn, NOON)
    declare(conn, declared("one", "0 0 * * *", input=1, time_zone="Europe/Berlin"))
    assert value(conn, "select done_until from pgflow.schedules") > NOON
    assert value(conn, "select paused_at is not null from pgflow.schedules")


def test_a_name_that_is_taken_is_refused_and_nothing_changed(conn: psycopg.Connection, flow: None) -> None:
    create_flow(conn, "other", "a")
    add(conn, "by_hand")
    declare(conn, declared("theirs"), slug="other")
    for name, of in (("by_hand", "of flow flow, made by hand"), ("theirs", "of flow other, made by its code")):
        with pytest.raises(psycopg.errors.RaiseException, match=rf"Schedule {name} is there already \({of}\): give"):
            declare(conn, declared(name), declared("mine"))
    assert [s.name for s in run(conn, calls.list_schedules())] == ["by_hand", "theirs"]


def test_schedules_outlive_the_replacement_of_their_flow(conn: psycopg.Connection) -> None:
    shape = {"steps": [{"slug": "a", "stepType": "single", "dependencies": []}]}
    run(conn, calls.ensure_flow_compiled("flow", shape))
    add(conn)
    run(conn, calls.ensure_flow_compiled("flow", {"steps": []}, allow_data_loss=True))
    assert [s.name for s in run(conn, calls.list_schedules())] == ["s"]
    for table in ("step_tasks", "step_states", "runs", "deps", "steps", "flows"):
        conn.execute(f"delete from pgflow.{table}")
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="Flow not found: flow"):
        fire(conn, due(conn, NOON + MINUTE), NOON + MINUTE)
    assert rows(conn, "select * from pgflow.schedule_slots") == []
