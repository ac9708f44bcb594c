"""`pgflow doctor`: nothing is found where nothing is wrong, and each fault is, with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow import Client, Flow, health
from tests.faults.pgbouncer import pooled

broken = Flow("watched", max_attempts=1)
broken.step(slug="only")(lambda: 1)


@pytest.fixture
def examined(cli: Callable[..., Any], dsn: str) -> Callable[..., Any]:
    """Runs the doctor; (exit code, findings by check)."""

    def examine(address: str = dsn) -> tuple[int, dict[str, list[dict[str, str]]]]:
        said = cli("doctor", "--json", "--dsn", address)
        report = json.loads(said.out)
        found = {check["check"]: check["findings"] for check in report["checks"] if check["findings"]}
        assert report["ok"] == (said.code == 0) == (not found)
        assert all(finding["what"] and finding["do"] for findings in found.values() for finding in findings)
        return said.code, found

    return examine


def the_one(found: dict[str, list[dict[str, str]]], check: str) -> dict[str, str]:
    assert list(found) == [check]
    (finding,) = found[check]
    return finding


def test_a_healthy_database_is_exit_code_0(cli, dsn):
    said = cli("doctor", "--dsn", dsn)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert all(line.startswith("ok  ") for line in lines)
    named = [line[4:].split(":")[0] for line in lines]
    assert named == [
        "connection", "clock", "versions", "notifications", "rights", "schema", "workers", "stalled tasks", "queues",
        "dead rows",
    ]  # fmt: skip


def test_an_unreachable_database_is_exit_code_3(cli):
    said = cli("doctor", "--dsn", "postgresql://me:secret@127.0.0.1:1/nowhere")
    assert said.code == 3
    assert said.out.startswith("!!  connection: cannot reach database 'nowhere' on 127.0.0.1:1")
    assert "    → start PostgreSQL" in said.out
    assert "secret" not in said.out + said.err


def test_an_unmigrated_database(examined, empty_dsn):
    code, found = examined(empty_dsn)
    assert code == 1
    finding = the_one(found, "schema")
    assert "no pgflow schema yet" in finding["what"]
    assert "pgflow migrate" in finding["do"]


def test_functions_of_another_version(examined, conn):
    conn.execute("update pgflow.schema_functions set checksum = 'other' where name = 'poll_tasks'")
    assert "pgflow migrate" in the_one(examined()[1], "schema")["do"]


def test_missing_rights(examined, conn, dsn):
    role = f"poor_{conn.info.dbname}"
    conn.execute(f"create role {role} login")
    try:
        assert "usage on schema pgflow" in the_one(examined(make_conninfo(dsn, user=role))[1], "rights")["what"]
        finding = the_one(examined(make_conninfo(dsn, user=role))[1], "rights")
        conn.execute(finding["do"].removeprefix("as the owner: "))
        assert examined(make_conninfo(dsn, user=role)) == (0, {})
        conn.execute(f"revoke delete on pgflow.runs from {role}")
        assert "delete on table pgflow.runs" in the_one(examined(make_conninfo(dsn, user=role))[1], "rights")["what"]
    finally:
        conn.execute(f"drop owned by {role}; drop role {role}")


def test_an_invalid_setting(examined, monkeypatch):
    monkeypatch.setenv("PGFLOW_CONCURRENCY", "many")
    code, findings = examined()
    assert code == 2
    assert "PGFLOW_CONCURRENCY must be a whole number" in the_one(findings, "settings")["what"]
    monkeypatch.delenv("PGFLOW_CONCURRENCY")
    code, findings = examined("nonsense")
    assert (code, "'nonsense' is no address" in the_one(findings, "settings")["what"]) == (2, True)


def test_notifications_that_nobody_hears(examined, empty_dsn, monkeypatch):
    monkeypatch.setattr(health, "_PROOF_TIMEOUT", 0.2)
    monkeypatch.setenv("PGFLOW_LISTEN_URL", empty_dsn)  # another database's: LISTEN works and hears nothing
    assert "PGFLOW_LISTEN_URL" in the_one(examined()[1], "notifications")["do"]
    monkeypatch.setenv("PGFLOW_LISTEN_URL", "postgresql://127.0.0.1:1/nowhere")
    assert "cannot reach" in the_one(examined()[1], "notifications")["what"]


@pytest.mark.slow
def test_a_pooler_that_swallows_listen(examined, dsn, monkeypatch):
    with pooled(dsn) as address:
        assert "PGFLOW_LISTEN_URL" in the_one(examined(address)[1], "notifications")["do"]
        monkeypatch.setenv("PGFLOW_LISTEN_URL", dsn)
        assert examined(address) == (0, {})


def test_clocks_that_differ(examined, monkeypatch):
    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(seconds=90)

    monkeypatch.setattr(health, "datetime", Late)
    assert "90." in the_one(examined()[1], "clock")["what"]


def test_a_flow_that_no_live_worker_serves(examined, cli, dsn, conn):
    with Client(dsn) as client:
        client.compile(broken)
        assert examined() == (0, {})
        client.pause(broken)
        client.start(broken, None)
        assert examined() == (0, {}), "paused: nobody need serve it"
        conn.execute("update pgflow.flows set paused_at = null")
    assert "serves flow watched, which has 1 run under way" in the_one(examined()[1], "workers")["what"]
    register = "select pgflow.register_worker(gen_random_uuid(), 'other,watched', 'w', 60)"
    conn.execute(register)
    assert examined() == (0, {})
    conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '5 min'")
    assert list(examined()[1]) == ["workers"]
    said = cli("doctor", "--json", "--dsn", dsn)
    assert [check["detail"] for check in json.loads(said.out)["checks"] if check["check"] == "workers"] == [""]


def served(conn: psycopg.Connection, dsn: str) -> None:
    """A flow with a run, and a worker that lives."""
    with Client(dsn) as client:
        client.start(broken, None)
    conn.execute("select pgflow.register_worker('00000000-0000-0000-0000-000000000001', 'watched', 'w', 600)")


def test_stalled_tasks(examined, dsn, conn):
    served(conn, dsn)
    conn.execute("select pgflow.poll_tasks('{watched}', '00000000-0000-0000-0000-000000000001', 1, 60)")
    assert examined() == (0, {})
    conn.execute("update pgflow.step_tasks set leased_until = now() - interval '2 min'")
    assert "1 task of step only of flow watched stalled" in the_one(examined()[1], "stalled tasks")["what"]


def test_messages_that_wait_too_long(cli, examined, dsn, conn):
    served(conn, dsn)
    assert examined() == (0, {})
    conn.execute("update pgmq.q_watched set vt = now() - interval '10 min'")
    finding = the_one(examined()[1], "queues")
    assert finding["what"].startswith("1 message of flow watched waiting, the first for 10 min ")
    assert "more workers" in finding["do"]
    conn.execute("update pgflow.flows set paused_at = now()")
    assert "pgflow resume watched" in the_one(examined()[1], "queues")["do"]
    conn.execute("update pgmq.q_watched set vt = now() + interval '10 min'")
    assert examined() == (0, {})


def test_a_queue_that_grows_though_nobody_has_waited_long(examined, dsn, conn, monkeypatch):
    monkeypatch.setattr(health, "_DEEP", 3)
    served(conn, dsn)
    with Client(dsn) as client:
        client.start(broken, None)
        assert examined() == (0, {})
        client.start(broken, None)
    assert the_one(examined()[1], "queues")["what"].startswith("3 messages of flow watched waiting, the first for ")


@pytest.mark.parametrize(("limit", "beyond"), [("_OLDEST", 99), ("_NEWEST", 9)])
def test_a_postgresql_that_is_not_supported(examined, monkeypatch, limit, beyond):
    monkeypatch.setattr(health, limit, beyond)
    assert "is not supported" in the_one(examined()[1], "versions")["what"]


def test_dead_rows(examined, conn):
    conn.execute("alter table pgflow.worker_functions set (autovacuum_enabled = off)")
    conn.execute("insert into pgflow.worker_functions (function_name) select 'f' || n from generate_series(1, 12000) n")
    conn.execute("delete from pgflow.worker_functions")
    conn.execute("select pg_stat_force_next_flush()")
    finding = the_one(examined()[1], "dead rows")
    assert finding["what"] == "pgflow.worker_functions has 12,000 dead rows and 0 live ones, never vacuumed"
    conn.execute("vacuum pgflow.worker_functions")
    conn.execute("select pg_stat_force_next_flush()")
    assert examined() == (0, {})


def test_a_transaction_that_stays_open(examined, conn, dsn, monkeypatch):
    monkeypatch.setattr(health, "_LONG_TRANSACTION", timedelta())
    with psycopg.connect(dsn) as idle:
        idle.execute("select 1")
        assert "a transaction has been open for" in the_one(examined()[1], "versions")["what"]
    assert examined() == (0, {})
