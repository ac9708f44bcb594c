"""pgflow.delete_flow_and_data."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.flows import complete, create_flow, fail, poll_and_start, start, step
from tests.support import rows, value

TABLES = ("step_tasks", "step_states", "runs", "deps", "steps", "flows")


def counts(conn: psycopg.Connection, slug: str) -> dict[str, int]:
    return {table: value(conn, f"select count(*) from pgflow.{table} where flow_slug = %s", slug) for table in TABLES}


def queue_tables(conn: psycopg.Connection) -> list[str]:
    found = rows(conn, "select relname from pg_class where relname ~ '^[qa]_' and relkind = 'r' order by 1")
    return [name for (name,) in found]


@pytest.mark.parametrize("slug", ["flow", "MyFlow"])
def test_the_flow_goes_with_all_its_data_and_no_other_does(trial: psycopg.Connection, slug: str) -> None:
    for each in (slug, "other"):
        create_flow(trial, each, "a", step("b", "a"), max_attempts=1)
        for _ in range(3):
            start(trial, each)
        done, failed, _ = poll_and_start(trial, each)
        complete(trial, done.run_id, "a", 1)
        fail(trial, failed.run_id, "a")
    kept = counts(trial, "other")

    trial.execute("select pgflow.delete_flow_and_data(%s)", (slug,))
    assert counts(trial, slug) == dict.fromkeys(TABLES, 0)
    assert counts(trial, "other") == kept
    assert queue_tables(trial) == ["a_other", "q_other"]
    assert rows(trial, "select queue_name from pgmq.meta") == [("other",)]


def test_the_flow_can_be_made_again(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow")
    trial.execute("select pgflow.delete_flow_and_data('flow')")
    create_flow(trial, "flow", "b")
    start(trial, "flow")
    assert rows(trial, "select message ->> 'step_slug' from pgmq.q_flow") == [("b",)]


def test_an_unknown_flow_is_no_error(trial: psycopg.Connection) -> None:
    trial.execute("select pgflow.delete_flow_and_data('unknown')")


def test_a_flow_whose_queue_is_gone_can_be_deleted(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    start(trial, "flow")
    trial.execute("select pgmq.drop_queue('flow')")
    trial.execute("select pgflow.delete_flow_and_data('flow')")
    assert counts(trial, "flow") == dict.fromkeys(TABLES, 0)
