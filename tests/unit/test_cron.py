"""Slots of cron expressions: what comes next, what was missed, and the days when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgflow.errors import InvalidInputError
from pgflow.flow.cron import cron_fault, first_slot, missed_slots, next_slot

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """All slots of a while, one by one."""
    found: list[datetime] = []
    while (slot := first_slot(cron, zone, found[-1] if found else after)) is not None and slot <= until:
        found.append(slot)
    return found


def on(day: str, cron: str) -> list[str]:
    """The slots in Berlin from 22:00 UTC of the day before until 06:00, in UTC."""
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=2)
    return [f"{slot:%H:%M}" for slot in slots(cron, BERLIN, start, start + timedelta(hours=8))]


@pytest.mark.parametrize(
    ("cron", "after", "slot"),
    [
        ("*/5 * * * *", "2026-01-01T12:00", "2026-01-01T12:05"),
        ("*/5 * * * *", "2026-01-01T12:04:59.999999", "2026-01-01T12:05"),
        ("0 9 * * MON-FRI", "2026-01-02T09:00", "2026-01-05T09:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("0 0 L * *", "2026-02-01T00:00", "2026-02-28T00:00"),
    ],
)
def test_the_next_slot_is_the_first_one_after(cron: str, after: str, slot: str) -> None:
    assert next_slot(cron, "UTC", utc(after)) == utc(slot)


def test_a_slot_is_an_instant_of_the_time_zone() -> None:
    assert next_slot("0 9 * * *", BERLIN, utc("2026-01-01T00:00")) == utc("2026-01-01T08:00")
    assert next_slot("0 9 * * *", BERLIN, utc("2026-07-01T00:00")) == utc("2026-07-01T07:00")
    assert next_slot("0 9 * * *", "Asia/Kolkata", utc("2026-07-01T00:00")) == utc("2026-07-01T03:30")


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["01:00"]),  # at 02:30, which is left out: right after it, at 03:00
        ("0 3 * * *", ["01:00"]),
        ("0,30 2,3 * * *", ["01:00", "01:30"]),  # 02:00, 02:30 and 03:00 are one instant
        ("0 * * * *", ["23:00", "00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00"]),
        ("*/30 1-3 * * *", ["00:00", "00:30", "01:00", "01:30"]),  # follows the clock, which shows no 02:00
    ],
)
def test_when_clocks_go_forward(cron: str, expected: list[str]) -> None:
    assert on("2026-03-29", cron) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["00:30"]),  # the clock shows it at 00:30 and at 01:30 UTC: the first time counts
        ("0 3 * * *", ["02:00"]),
        ("15 2,3 * * *", ["00:15", "02:15"]),
        ("0 * * * *", ["23:00", "00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00"]),
        ("*/30 2 * * *", ["00:00", "00:30", "01:00", "01:30"]),  # follows the clock, which shows 02:00 twice
    ],
)
def test_when_clocks_go_back(cron: str, expected: list[str]) -> None:
    assert on("2026-10-25", cron) == expected


def test_within_the_hour_that_comes_twice_nothing_comes_again() -> None:
    second_time = utc("2026-10-25T01:10")  # 02:10 for the second time; 02:30 has come, at 00:30
    assert next_slot("30 2 * * *", BERLIN, second_time) == utc("2026-10-26T01:30")
    assert missed_slots("30 2 * * *", BERLIN, utc("2026-10-25T00:20"), second_time, most=9) == [utc("2026-10-25T00:30")]


CRONS = ["* * * * *", "*/30 * * * *", "30 2 * * *", "0 3 * * *", "0,30 1-3 * * *", "30 */2 * * *", "15 2 25 10 *"]
ZONES = ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]
CHANGES = ["2026-03-28T20:00", "2026-10-24T20:00", "2026-03-08T03:00", "2026-11-01T02:00", "2026-04-04T10:00"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CRONS),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.integers(0, 30_000),
    st.integers(0, 30_000),
    st.integers(1, 40),
)
def test_what_was_missed_are_the_latest_of_all_that_came(
    cron: str, zone: str, around: str, offset: int, length: int, most: int
) -> None:
    after = utc(around) + timedelta(seconds=offset)
    until = after + timedelta(seconds=length)
    all_of_them = slots(cron, zone, after, until)
    assert missed_slots(cron, zone, after, until, most=most) == all_of_them[-most:]
    assert all(one < other for one, other in pairwise(all_of_them))


def test_after_years_only_what_is_asked_for_is_reckoned() -> None:
    start, now = utc("2000-01-01T00:00"), utc("2026-01-01T00:00")
    found = missed_slots("* * * * *", BERLIN, start, now, most=100)
    assert (len(found), found[-1], found[0]) == (100, now, now - timedelta(minutes=99))
    assert missed_slots("0 0 29 2 *", "UTC", start, now, most=3) == [
        utc(f"{year}-02-29T00:00") for year in (2016, 2020, 2024)
    ]


def test_nothing_was_missed_where_time_stands_still_or_goes_back() -> None:
    now = utc("2026-01-01T12:00")
    assert missed_slots("* * * * *", "UTC", now, now, most=5) == []
    assert missed_slots("* * * * *", "UTC", now, now - timedelta(hours=1), most=5) == []


@pytest.mark.parametrize(
    ("cron", "zone", "fault"),
    [
        ("* * * *", "UTC", "cron '* * * *' is not valid (it has not five fields): expected minute, hour,"),
        ("* * * * * *", "UTC", "it has not five fields"),
        ("@daily", "UTC", "it has not five fields"),
        ("61 * * * *", "UTC", "Bad minute"),
        ("* * * * FOO", "UTC", "Bad day-of-week"),
        ("* * * * 1#2/3", "UTC", "is not valid"),
        ("0 0 31 2 *", "UTC", "Bad day-of-month"),
        (None, "UTC", "cron None is not valid"),
        (5, "UTC", "cron 5 is not valid"),
        ("* * * * *", "Berlin", "time zone 'Berlin' is not known here: expected a name like 'Europe/Berlin'"),
        ("* * * * *", "", "time zone '' is not known here"),
        ("* * * * *", None, "time zone None is not known here"),
        ("* * * * *", "../../etc/passwd", "is not known here"),
    ],
)
def test_what_is_no_schedule_is_explained(cron: Any, zone: Any, fault: str) -> None:
    assert fault in str(cron_fault(cron, zone))
    with pytest.raises(InvalidInputError):
        next_slot(cron, zone, utc("2026-01-01T00:00"))
    assert first_slot(cron, zone, utc("2026-01-01T00:00")) is None


def test_what_is_one_is_no_fault() -> None:
    assert cron_fault("*/5 9-17 * JAN,JUL MON-FRI", BERLIN) is None
