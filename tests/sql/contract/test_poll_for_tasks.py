"""pgflow.poll_for_tasks."""

from __future__ import annotations

import psycopg

from tests.sql.flows import create_flow, queued, start, task_status
from tests.support import rows, value


def test_it_raises_a_notice_returns_nothing_and_reads_nothing(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    notices: list[tuple[str | None, str | None]] = []
    trial.add_notice_handler(lambda d: notices.append((d.severity_nonlocalized, d.message_primary)))
    assert rows(trial, "select * from pgflow.poll_for_tasks('flow', 30, 10)") == []
    [(severity, message)] = notices
    assert severity == "NOTICE"
    assert "deprecated" in str(message)
    assert (queued(trial, "flow"), task_status(trial, run, "a")) == ([("a", 0)], ["queued"])
    assert value(trial, "select read_ct from pgmq.q_flow") == 0


def test_an_unknown_queue_is_no_error(trial: psycopg.Connection) -> None:
    assert rows(trial, "select * from pgflow.poll_for_tasks('unknown', 30, 10, 0, 10)") == []
