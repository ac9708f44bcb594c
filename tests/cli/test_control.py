"""`pgflow cancel`, `retry`, `rerun`, `pause` and `resume`."""

from __future__ import annotations

import io
import json

import pytest

from pgflow import Client, Flow, RunFailed, execute
from tests.support import rows, value

NOBODY = "00000000-0000-0000-0000-000000000000"
ways = Flow("ways", max_attempts=1)


@ways.step
def first(flow_input: int) -> int:
    return flow_input


@ways.step
def second(first: int) -> float:
    return 1 / first


@pytest.fixture
def started(dsn):
    """The id of a run that nobody works on."""
    with Client(dsn) as client:
        return str(client.start(ways, 1).run_id)


@pytest.fixture
def failed(dsn):
    with pytest.raises(RunFailed) as raised:
        execute(ways, 0, dsn=dsn)
    return str(raised.value.run_id)


def test_cancel(cli, dsn, started):
    said = cli("cancel", started, "--reason", "wrong list", "--dsn", dsn)
    assert (said.code, said.out) == (0, f"cancelled run {started} of ways\n")
    shown = cli("show", started, "--dsn", dsn).out
    assert f"run {started} of ways: cancelled" in shown
    assert "Cancelled: wrong list" in shown
    assert ["first", "cancelled"] in [line.split()[:2] for line in shown.splitlines()]
    listed = cli("runs", "--status", "cancelled", "--dsn", dsn).out.splitlines()
    assert listed[1].split()[:3] == [started, "ways", "cancelled"]


def test_cancel_as_json(cli, dsn, started):
    run = json.loads(cli("cancel", started, "--json", "--dsn", dsn).out)
    assert (run["run_id"], run["status"], run["error"]) == (started, "cancelled", "Cancelled")


def test_retry(cli, dsn, conn, failed):
    said = cli("retry", failed, "--dsn", dsn)
    assert said.out == f"run {failed} of ways goes on: `pgflow show {failed}` says how it goes\n"
    assert (said.code, value(conn, "select status from pgflow.runs")) == (0, "started")
    assert json.loads(cli("retry", failed, "--json", "--dsn", dsn).out)["status"] == "started"


def test_a_retry_that_fails_again_at_once_says_so(cli, dsn):
    picky = Flow("picky")
    picky.step(slug="only", run_if={"never": 1}, when_unmet="fail")(lambda: 1)
    with pytest.raises(RunFailed) as raised:
        execute(picky, {}, dsn=dsn)
    assert "of picky has failed at once: " in cli("retry", str(raised.value.run_id), "--dsn", dsn).out


def test_rerun(cli, dsn, conn, failed):
    said = cli("rerun", failed, "second", "--dsn", dsn)
    ((run_id, parent),) = rows(conn, "select run_id, parent_run_id::text from pgflow.runs where status = 'started'")
    assert parent == failed
    assert said.out == f"started run {run_id} of ways, from second on: `pgflow show {run_id}` says how it goes\n"
    assert f"a rerun of run {failed}" in cli("show", str(run_id), "--dsn", dsn).out


@pytest.mark.parametrize(("given", "stored"), [("5", 5), ("@input.json", [6]), ("-", {"n": 7}), ("null", None)])
def test_rerun_with_another_input(cli, dsn, failed, tmp_path, monkeypatch, given, stored):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.json").write_text("[6]")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n": 7}'))
    said = cli("rerun", failed, "first", "--input", given, "--json", "--dsn", dsn)
    run = json.loads(said.out)
    assert (said.code, run["input"], run["parent_run_id"]) == (0, stored, failed)


def test_pause_and_resume(cli, dsn, conn, started):
    said = cli("pause", "ways", "--dsn", dsn)
    assert (said.code, said.out) == (0, "paused ways: `pgflow resume ways` lets it go on\n")
    assert value(conn, "select paused_at is not null from pgflow.flows")
    said = cli("resume", "ways", "--dsn", dsn)
    assert (said.code, said.out) == (0, "resumed ways\n")
    assert value(conn, "select paused_at is null from pgflow.flows")


def test_a_flow_may_be_named_by_its_module(cli, dsn, conn, app):
    assert cli("start", "app:shout", '{"text": "hi"}', "--dsn", dsn).code == 0
    assert cli("pause", "app:shout", "--dsn", dsn).code == 0
    assert value(conn, "select paused_at is not null from pgflow.flows")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cancel", NOBODY], f"no run {NOBODY} in this database: `pgflow runs` lists those there are"),
        (["retry", NOBODY], f"no run {NOBODY} in this database"),
        (["rerun", NOBODY, "first"], f"no run {NOBODY} in this database"),
        (["cancel", "xyz"], "'xyz' is no run id"),
        (["cancel", "FAILED"], "has failed and cannot be cancelled"),
        (["rerun", "FAILED", "third"], 'Flow ways has no step "third": it has '),
        (["rerun", "FAILED", "first", "--input", "{1"], "the input is no JSON"),
        (["pause", "nope"], "flow 'nope' is not in the database"),
        (["resume", "nope"], "flow 'nope' is not in the database"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(cli, dsn, failed, arguments, message):
    said = cli(*(failed if a == "FAILED" else a for a in arguments), "--dsn", dsn)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1
