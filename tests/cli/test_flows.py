"""`pgflow flows`, and a worker of handlers by name."""

from __future__ import annotations

import io
import json
import signal

from pgflow import Client, FlowSpec, StepSpec
from tests.cli.conftest import spawn
from tests.support import eventually, value

REPORT = FlowSpec(
    slug="report",
    timeout=9,
    steps=[
        StepSpec(slug="fetch"),
        StepSpec(slug="each", step_type="map", depends_on=["fetch"], handler="llm", run_if={"fetch": ["a"]}),
    ],
)


def test_the_list_of_flows(cli, dsn, conn):
    said = cli("flows", "--dsn", dsn)
    assert (said.code, said.out) == (0, "")
    assert "no flows yet: `pgflow compile FLOW` stores one" in said.err
    with Client(dsn) as client:
        client.compile(REPORT)
        client.pause(REPORT.slug)
        client.start("report", 1)
    conn.execute("select pgflow.create_flow('coded')")
    lines = [line.split() for line in cli("flows", "--dsn", dsn).out.splitlines()]
    assert lines[1:] == [["coded", "0", "0", "0", "0"], ["report", "2", "1", "0", "1", "dynamic,", "paused"]]
    listed = json.loads(cli("flows", "--json", "--dsn", dsn).out)
    assert [(flow["flow_slug"], flow["queued"]) for flow in listed] == [("coded", 0), ("report", 1)]


def test_a_stored_flow_is_drawn_and_can_be_had_as_a_spec(cli, dsn):
    with Client(dsn) as client:
        client.compile(REPORT)
    assert cli("flows", "show", "report", "--dsn", dsn).out == (
        "report\n└─ fetch\n   └─ each (map) ← fetch\neach: by handler llm\n"
    )
    spec = FlowSpec.read(cli("flows", "show", "report", "--json", "--dsn", dsn).out)
    assert spec.steps == REPORT.steps
    said = cli("flows", "show", "reprot", "--dsn", dsn)
    assert (said.code, "flow 'reprot' is not in the database" in said.err) == (2, True)


def test_a_flow_is_deleted_when_that_was_meant(cli, dsn, conn, monkeypatch):
    with Client(dsn) as client:
        client.compile(REPORT)
        client.start("report", 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    said = cli("flows", "delete", "report", "--dsn", dsn)
    assert (said.code, said.err) == (130, "pgflow: not confirmed, nothing was changed\n")
    assert "Delete flow report, with all its runs (1 of which go on)?" in said.out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli("flows", "delete", "report", "--dsn", dsn).code == 130
    assert value(conn, "select count(*) from pgflow.flows") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli("flows", "delete", "report", "--dsn", dsn).out.endswith("deleted report\n")
    assert value(conn, "select count(*) from pgflow.flows") == 0
    for more in ([], ["--yes"]):
        said = cli("flows", "delete", "report", *more, "--dsn", dsn)
        assert (said.code, said.err.count("\n"), "is not in the database" in said.err) == (2, 1, True)


def test_flows_that_nobody_uses_are_pruned(cli, dsn, conn):
    with Client(dsn) as client:
        client.compile(REPORT)
        client.compile(REPORT.model_copy(update={"slug": "used"}))
        client.start("used", 1)
    conn.execute("update pgflow.flows set dynamic_at = now() - interval '31 days'")
    pruning = ("flows", "prune", "--older-than", "30d", "--dsn", dsn)
    assert json.loads(cli(*pruning, "--dry-run", "--json").out) == {"dry_run": True, "flows": ["report"]}
    assert cli(*pruning, "--dry-run").out == "would delete 1 flow: report\n"
    assert value(conn, "select count(*) from pgflow.flows") == 2
    said = cli(*pruning)
    assert (said.code, said.out) == (0, "deleted 1 flow: report\n")
    assert cli(*pruning).out == "deleted 0 flows\n"
    assert value(conn, "select flow_slug from pgflow.flows") == "used"


def test_a_worker_of_handlers_serves_what_is_stored_later(dsn, app, conn):
    (app / "tools.py").write_text(
        "import pgflow\nhandlers = pgflow.Handlers()\nhandlers('fetch')(lambda input: input)\n"
        "handlers('llm')(lambda input: input.upper())\n"
    )
    worker = spawn("worker", "tools:handlers", "app", cwd=app, PGFLOW_DATABASE_URL=dsn)
    try:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
        with Client(dsn) as client:
            client.compile(REPORT)
            assert client.wait(client.start("report", ["a", "b"]), timeout=40).output == {"each": ["A", "B"]}
            assert client.wait(client.start("shout", {"text": "hi"}), timeout=40).output == {"louder": "HI"}
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=30)
    finally:
        worker.kill()
    assert worker.returncode == 0
    assert "serves shout, flows with handlers by name" in log
    assert "serving flow report" in log
