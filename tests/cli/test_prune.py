"""`pgflow prune`, and client.prune."""

from __future__ import annotations

import json

import pytest

from pgflow import Client, Flow, execute
from tests.support import value

old = Flow("old")
old.map(slug="each")(lambda n: n)


@pytest.fixture
def ended(dsn, conn):
    """A run that ended ten days ago, one that ended now, and one that has never ended."""
    execute(old, [1, 2], dsn=dsn)
    conn.execute("update pgflow.runs set started_at = now() - interval '11 d', completed_at = now() - interval '10 d'")
    conn.execute("update pgmq.a_old set archived_at = now() - interval '10 d'")
    conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '10 d'")
    execute(old, [3], dsn=dsn)
    with Client(dsn) as client:
        client.start(old, [4])
    conn.execute("update pgflow.runs set started_at = now() - interval '11 d' where status = 'started'")
    return dsn


def runs(conn):
    return value(conn, "select count(*) from pgflow.runs")


def test_it_deletes_what_it_said_it_would(cli, ended, conn):
    said = cli("prune", "--older-than", "9d", "--dry-run", "--json", "--dsn", ended)
    assert json.loads(said.out) == {"dry_run": True, "runs": 1, "tasks": 2, "archived_messages": 2, "workers": 1}
    assert runs(conn) == 3
    said = cli("prune", "--older-than", "9d", "--dsn", ended)
    assert (said.code, said.out) == (0, "deleted 1 run with 2 tasks, 2 archived messages, 1 worker\n")
    assert runs(conn) == 2
    said = cli("prune", "--older-than", "1w", "--dsn", ended)
    assert said.out == "deleted 0 runs with 0 tasks, 0 archived messages, 0 workers\n"


@pytest.mark.parametrize("command", ["prune", "flows prune"])
def test_what_is_no_age_is_refused(cli, ended, conn, command):
    for age in ("30", "30 d", "-1d", "d", "1y", "999999w"):
        said = cli(*command.split(), f"--older-than={age}", "--dsn", ended)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert (
            "must be an age, at most 365,000 days" if age == "999999w" else "is no age: expected a number"
        ) in said.err
    assert cli(*command.split(), "--dsn", ended).code == 2
    assert runs(conn) == 3
