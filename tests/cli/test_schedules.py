"""`pgflow schedule …`, and `pgflow start` once or later."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pgflow import Client, Flow
from tests.support import rows, value

report = Flow("report")


@report.step
def write(flow_input: dict) -> dict:
    return flow_input


@pytest.fixture
def said(cli, dsn):
    """Runs a command on a database with the flow `report`."""
    with Client(dsn) as client:
        client.compile(report)
    return lambda *arguments: cli(*arguments, "--dsn", dsn)


def test_a_schedule_is_added_listed_and_run(said, conn):
    added = said(
        "schedule", "add", "nightly", "report", "0 3 * * *", "--tz", "Europe/Berlin", "--input", '{"full": true}'
    )
    assert added.code == 0
    assert added.out.startswith("added nightly: next at 20")
    (heading, line) = said("schedule", "list").out.splitlines()
    assert heading.split()[:5] == ["name", "flow", "cron", "zone", "from"]
    assert line.split()[:9] == ["nightly", "report", "0", "3", "*", "*", "*", "Europe/Berlin", "user"]
    started = said("schedule", "run-now", "nightly")
    assert started.out.startswith("started run ")
    assert rows(conn, "select flow_slug, input from pgflow.runs") == [("report", {"full": True})]


def test_a_schedule_is_paused_resumed_and_deleted(said):
    said("schedule", "add", "s", "report", "* * * * *")
    assert said("schedule", "pause", "s").out == "paused s: `pgflow schedule resume s` lets it go on\n"
    assert "paused" in said("schedule", "list").out
    assert said("schedule", "resume", "s").out.startswith("resumed s: next at 20")
    assert said("schedule", "delete", "s").out == "deleted s\n"
    empty = said("schedule", "list")
    assert (empty.code, empty.out) == (0, "")
    assert empty.err == "no schedules: `pgflow schedule add NAME FLOW CRON` makes one\n"


def test_the_listing_as_json(said, conn):
    said("schedule", "add", "s", "report", "* * * * *", "--catch-up", "all")
    said("schedule", "add", "t", "report", "0 0 1 1 *")
    listed = json.loads(said("schedule", "list", "--flow", "report", "--json").out)
    assert [(s["name"], s["catch_up"], s["input"], s["origin"]) for s in listed] == [
        ("s", "all", None, "user"),
        ("t", "last", None, "user"),
    ]
    assert listed[1]["next_at"].endswith("-01-01T00:00:00+00:00")
    assert json.loads(said("schedule", "pause", "s", "--json").out)["next_at"] is None
    conn.execute("select pgflow.delete_flow_and_data('report')")
    assert len(json.loads(said("schedule", "list", "--flow", "report", "--json").out)) == 2  # they outlive their flow


def test_deleting_what_code_declares_says_that_it_comes_back(said, conn):
    said("schedule", "add", "s", "report", "* * * * *")
    conn.execute("update pgflow.schedules set origin = 'code'")
    assert said("schedule", "delete", "s").out == (
        "deleted s; it comes back while the code of flow report declares it\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("add", "s", "report", "nonsense"), "cron 'nonsense' is not valid"),
        (("add", "s", "report", "* * * * *", "--tz", "Mars"), "time zone 'Mars' is not known here"),
        (("add", "s t", "report", "* * * * *"), "the name 's t' is not valid"),
        (("add", "s", "report", "* * * * *", "--input", "{"), "the input is no JSON"),
        (("add", "s", "report", "* * * * *", "--catch-up", "some"), "'some' is not one of 'none', 'last', 'all'"),
        (("add", "s", "nope", "* * * * *"), "flow 'nope' is not in the database"),
        (("add", "there", "report", "* * * * *"), "Schedule there is there already"),
        (("list", "--flow", "nope"), "flow 'nope' is not in the database"),
        (("pause", "nope"), "no schedule 'nope' in this database: `pgflow schedule list` shows those there are"),
        (("run-now", "nope"), "no schedule 'nope'"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(said, conn, arguments, complaint):
    said("schedule", "add", "there", "report", "* * * * *")
    refused = said("schedule", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert complaint in refused.err
    assert len(refused.err.splitlines()) == 1
    assert value(conn, "select count(*) from pgflow.schedules") == 1


def test_start_with_a_key_starts_once(said, conn):
    first, again = (said("start", "report", given, "--key", "k", "--json") for given in ("1", "2"))
    assert json.loads(first.out)["run_id"] == json.loads(again.out)["run_id"]
    assert json.loads(first.out)["key"] == "k"
    assert value(conn, "select count(*) from pgflow.runs") == 1


def test_start_later(said, conn):
    said("start", "report", "1", "--delay", "3600.5")
    said("start", "report", "2", "--at", "2030-01-01T12:00+05:00")
    said("start", "report", "3", "--at", "2030-01-01 12:00:00")
    starts = dict(rows(conn, "select input, start_at from pgflow.runs where input <> '1'"))
    assert starts == {2: datetime(2030, 1, 1, 7, tzinfo=UTC), 3: datetime(2030, 1, 1, 12).astimezone()}
    assert value(conn, "select start_at > now() + interval '59 minutes' from pgflow.runs where input = '1'")
    both = said("start", "report", "1", "--delay", "1", "--at", "2030-01-01T12:00:00")
    assert (both.code, "give at= or delay=, not both" in both.err) == (2, True)
    soon = said("start", "report", "1", "--at", "soon")
    assert (soon.code, "'soon' is no time: expected one like 2026-12-24T18:00+01:00" in soon.err) == (2, True)
