"""Schedules fired by workers, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Flow, Worker, calls
from pgflow.db import AsyncDatabase
from pgflow.errors import InvalidInputError
from pgflow.records import DueSchedule
from pgflow.worker.scheduler import Scheduler, due_slots
from tests.sql.flows import create_flow
from tests.support import aeventually, rows, value

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def due(catch_up: Any, now: datetime, cron: str = "*/10 * * * *", done_until: datetime = NOON) -> DueSchedule:
    return DueSchedule("s", cron, "UTC", catch_up, done_until, now, None)


@pytest.mark.parametrize(
    ("catch_up", "now", "slots"),
    [
        ("none", at(12, 10, 5), [at(12, 10)]),  # on time
        ("none", at(12, 30, 59), [at(12, 30)]),  # two were missed, one is on time
        ("none", at(12, 31, 1), []),
        ("last", at(12, 10, 5), [at(12, 10)]),
        ("last", at(12, 39), [at(12, 30)]),
        ("all", at(12, 39), [at(12, 10), at(12, 20), at(12, 30)]),
        ("all", at(12, 9), []),
        ("last", at(11, 0), []),  # the clock was set back
    ],
)
def test_the_policy_says_which_slots_are_made_up_for(catch_up: str, now: datetime, slots: list[datetime]) -> None:
    assert due_slots(due(catch_up, now)) == slots


def test_no_more_than_a_hundred_are_made_up_for_the_latest() -> None:
    found = due_slots(due("all", NOON + timedelta(days=365), "* * * * *"))
    assert (len(found), found[-1]) == (100, NOON + timedelta(days=365))


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def scheduler(database: AsyncDatabase, clock: Clock, conn: psycopg.Connection) -> Scheduler:
    create_flow(conn, "flow", "a")
    return Scheduler(database, clock)


def add(conn: psycopg.Connection, name: str, cron: str, zone: str = "UTC", *, made: datetime, **more: Any) -> None:
    """A schedule that was made at this time."""
    values = {"flow_slug": "flow", "catch_up": "last", **more}
    conn.execute(
        "insert into pgflow.schedules (schedule_name, flow_slug, cron, time_zone, catch_up, done_until) "
        "values (%s, %s, %s, %s, %s, %s)",
        (name, values["flow_slug"], cron, zone, values["catch_up"], made),
    )


def fired(conn: psycopg.Connection, name: str) -> list[str]:
    """The slots that were fired, in UTC."""
    prefix = f"schedule:{name}:"
    keys = rows(
        conn, "select idempotency_key from pgflow.runs where starts_with(idempotency_key, %s) order by 1", prefix
    )
    return [key.removeprefix(prefix) for (key,) in keys]


async def settle(scheduler: Scheduler) -> float:
    """Fires what is due; returns how long it wants to sleep then."""
    while not (pause := await scheduler.run_once()):
        pass
    return pause


async def test_each_slot_is_fired_once_as_time_goes_by(
    scheduler: Scheduler, clock: Clock, conn: psycopg.Connection
) -> None:
    add(conn, "s", "*/5 * * * *", made=NOON)
    for _ in range(50):
        await settle(scheduler)
        clock.now += timedelta(seconds=20)
    assert fired(conn, "s") == ["2026-01-01T12:05:00Z", "2026-01-01T12:10:00Z", "2026-01-01T12:15:00Z"]


async def test_it_sleeps_until_the_next_slot_and_not_much_longer(
    scheduler: Scheduler, clock: Clock, conn: psycopg.Connection
) -> None:
    assert 10 <= await settle(scheduler) < 11  # nothing there: looks for new ones
    add(conn, "s", "* * * * *", made=NOON)
    assert 10 <= await settle(scheduler) < 11
    clock.now = at(12, 0, 57)
    assert 3 <= await settle(scheduler) < 3.2
    assert fired(conn, "s") == []


@pytest.mark.parametrize(("catch_up", "slots"), [("none", [5]), ("last", [5]), ("all", [1, 2, 3, 4, 5])])
@pytest.mark.parametrize("late", [False, True])
async def test_after_an_outage_the_policy_decides(
    scheduler: Scheduler, clock: Clock, conn: psycopg.Connection, catch_up: str, slots: list[int], late: bool
) -> None:
    add(conn, "s", "0 * * * *", made=NOON, catch_up=catch_up)
    await settle(scheduler)
    clock.now = at(17, 30) if late else at(17, 0, 30)
    await settle(scheduler)
    expected = [] if late and catch_up == "none" else [f"2026-01-01T{12 + n}:00:00Z" for n in slots]
    assert fired(conn, "s") == expected
    clock.now = at(18, 0, 1)
    await settle(scheduler)
    assert fired(conn, "s") == [*expected, "2026-01-01T18:00:00Z"]


@pytest.mark.parametrize(
    ("day", "nightly", "hourly"),
    [
        ("2026-03-29", ["01:00"], ["23:00", "00:00", "01:00", "02:00", "03:00"]),
        ("2026-10-25", ["00:30"], ["23:00", "00:00", "01:00", "02:00", "03:00"]),
    ],
    ids=["forward", "back"],
)
async def test_where_clocks_change_no_slot_is_lost_or_comes_twice(
    scheduler: Scheduler, clock: Clock, conn: psycopg.Connection, day: str, nightly: list[str], hourly: list[str]
) -> None:
    clock.now = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=1, minutes=30)
    add(conn, "nightly", "30 2 * * *", "Europe/Berlin", made=clock.now)
    add(conn, "hourly", "0 * * * *", "Europe/Berlin", made=clock.now, catch_up="all")
    for _ in range(32):
        await settle(scheduler)
        clock.now += timedelta(minutes=10)
    assert [slot[11:16] for slot in fired(conn, "nightly")] == nightly
    assert sorted(slot[11:16] for slot in fired(conn, "hourly")) == sorted(hourly)


async def test_several_who_look_at_once_fire_once(
    dsn: str, database: AsyncDatabase, scheduler: Scheduler, clock: Clock, conn: psycopg.Connection
) -> None:
    for n in range(5):
        add(conn, f"s{n}", "* * * * *", made=NOON, catch_up="all")
    clock.now = at(12, 3)
    await asyncio.gather(*(settle(Scheduler(database, clock)) for _ in range(4)), settle(scheduler))
    assert value(conn, "select count(*) from pgflow.runs") == 15


@pytest.mark.parametrize(("minutes", "said"), [(100, 0), (101, 1)])
async def test_that_slots_are_left_out_is_said_once(
    scheduler: Scheduler,
    clock: Clock,
    conn: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    minutes: int,
    said: int,
) -> None:
    add(conn, "s", "* * * * *", made=NOON, catch_up="all")
    clock.now = NOON + timedelta(minutes=minutes)
    await settle(scheduler)
    clock.now += timedelta(minutes=1)
    await settle(scheduler)
    text = "schedule s missed more than 100 slots: what came before 2026-01-01 12:02:00+00:00 is not made up for"
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [text] * said
    assert value(conn, "select count(*) from pgflow.runs") == 101


async def test_one_that_cannot_be_fired_hinders_no_other(
    scheduler: Scheduler, clock: Clock, conn: psycopg.Connection
) -> None:
    add(conn, "a_bad_cron", "nonsense", made=NOON)
    add(conn, "b_no_flow", "* * * * *", made=NOON, flow_slug="gone")
    add(conn, "c_good", "* * * * *", made=NOON)
    clock.now = at(12, 1)
    await settle(scheduler)
    assert fired(conn, "c_good") == ["2026-01-01T12:01:00Z"]
    said = dict(rows(conn, "select schedule_name, error_message from pgflow.schedules"))
    assert "cron 'nonsense' is not valid" in said["a_bad_cron"]
    assert "flow 'gone' is not in the database" in said["b_no_flow"]
    assert said["c_good"] is None
    assert await settle(scheduler) > 0


# ---------------------------------------------------------------------------------------- in a worker


def reports(**schedule: Any) -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("reports")
    flow.step(slug="write")(lambda flow_input: flow_input)
    if schedule:
        flow.schedule(**schedule)
    return flow


async def test_a_worker_stores_what_its_flows_declare_and_fires_what_is_due(dsn: str, conn: psycopg.Connection) -> None:
    flow = reports(cron="0 0 1 1 *", tz="Europe/Berlin", input={"year": "new"})
    async with Worker([flow], dsn=dsn), AsyncClient(dsn) as client:
        (stored,) = await client.schedules.list()
    assert (stored.name, stored.flow_slug, stored.cron, stored.time_zone) == (
        "reports",
        "reports",
        "0 0 1 1 *",
        "Europe/Berlin",
    )
    assert (stored.input, stored.origin, stored.catch_up) == ({"year": "new"}, "code", "last")
    conn.execute("update pgflow.schedules set done_until = now() - interval '2 years', next_at = '-infinity'")
    async with Worker([flow], dsn=dsn):
        status = "select status from pgflow.runs"
        await aeventually(lambda: rows(conn, status) == [("completed",)])
    assert value(conn, "select output from pgflow.runs") == {"write": {"year": "new"}}
    async with Worker([reports()], dsn=dsn), AsyncClient(dsn) as client:
        assert await client.schedules.list() == []


async def test_any_worker_fires_schedules_of_flows_that_it_does_not_serve(
    dsn: str, database: AsyncDatabase, conn: psycopg.Connection
) -> None:
    create_flow(conn, "foreign", "a")
    add(conn, "s", "* * * * *", made=datetime(2026, 1, 1, tzinfo=UTC), flow_slug="foreign")
    async with Worker([reports()], dsn=dsn):
        await aeventually(lambda: rows(conn, "select flow_slug, status from pgflow.runs") == [("foreign", "started")])
    assert (await database.run(calls.list_schedules("foreign")))[0].last_slot is not None


async def test_a_worker_refuses_a_name_that_is_taken(dsn: str, conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a")
    add(conn, "reports", "* * * * *", made=NOON)
    with pytest.raises(InvalidInputError, match=r"Schedule reports is there already \(of flow flow, made by hand\)"):
        async with Worker([reports(cron="* * * * *")], dsn=dsn):
            pass
