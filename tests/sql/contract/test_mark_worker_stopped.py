"""pgflow.mark_worker_stopped."""

from __future__ import annotations

import uuid

import psycopg

from tests.sql.flows import add_worker
from tests.support import rows


def test_a_worker_is_stopped_now_and_no_other(trial: psycopg.Connection) -> None:
    worker, other = sorted([add_worker(trial, "flow"), add_worker(trial, "flow")])
    trial.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    assert rows(
        trial,
        """select worker_id, stopped_at between now() and clock_timestamp(), deprecated_at, last_heartbeat_at = now()
           from pgflow.workers order by 1""",
    ) == [(worker, True, None, True), (other, None, None, True)]


def test_an_unknown_worker_is_no_error(trial: psycopg.Connection) -> None:
    trial.execute("select pgflow.mark_worker_stopped(%s)", (uuid.uuid4(),))
    assert rows(trial, "select * from pgflow.workers") == []
