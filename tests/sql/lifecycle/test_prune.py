"""prune_data_older_than: what ended before the cutoff goes, with all it has."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.sql.flows import (
    add_worker,
    archived,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    start,
    step,
)
from tests.support import rows, value


def prune(conn: psycopg.Connection, interval: str = "30 days") -> None:
    conn.execute("select pgflow.prune_data_older_than(%s::interval)", (interval,))


def counts(conn: psycopg.Connection) -> dict[str, int]:
    """How many rows there are of what may be pruned."""
    tables = ("runs", "step_states", "step_tasks")
    return {table: value(conn, f"select count(*) from pgflow.{table}") for table in tables}


def ended(conn: psycopg.Connection, slug: str = "flow", *, failing: bool = False, days: float = 31) -> uuid.UUID:
    """A run of `a` that ended so many days ago."""
    run_id = start(conn, slug)
    poll_and_start(conn, slug)
    (fail if failing else complete)(conn, run_id, "a")
    conn.execute(
        """update pgflow.runs set started_at = started_at - w.age, completed_at = completed_at - w.age,
             failed_at = failed_at - w.age from (select make_interval(days => %s) as age) w where run_id = %s""",
        (days, run_id),
    )
    return run_id


@pytest.fixture
def flow(conn: psycopg.Connection) -> str:
    """A flow of one step that fails for good at once."""
    create_flow(conn, "flow", step("a", max_attempts=1))
    return "flow"


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.usefixtures("flow")
def test_a_run_that_ended_before_the_cutoff_goes_with_its_states_and_tasks(
    conn: psycopg.Connection, failing: bool
) -> None:
    ended(conn, failing=failing)
    prune(conn)
    assert counts(conn) == {"runs": 0, "step_states": 0, "step_tasks": 0}


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.usefixtures("flow")
def test_a_run_that_ended_after_the_cutoff_stays(conn: psycopg.Connection, failing: bool) -> None:
    ended(conn, failing=failing, days=29)
    prune(conn)
    assert counts(conn) == {"runs": 1, "step_states": 1, "step_tasks": 1}


@pytest.mark.usefixtures("flow")
def test_the_definition_of_the_flow_stays(conn: psycopg.Connection) -> None:
    ended(conn)
    prune(conn)
    assert rows(conn, "select flow_slug, step_slug from pgflow.steps") == [("flow", "a")]
    assert value(conn, "select status from pgflow.start_flow('flow', '{}')") == "started"


def test_all_tasks_and_states_go_whatever_their_status(conn: psycopg.Connection) -> None:
    create_flow(
        conn,
        "flow",
        step("a", max_attempts=1),
        step("m", step_type="map"),
        step("waiting", start_delay=60),
        step("created", "m"),
        step("skipped", required_input_pattern={"x": 1}),
    )
    run_id = start(conn, "flow", [1, 2])
    poll_and_start(conn, "flow")
    complete(conn, run_id, "m", 1)
    fail(conn, run_id, "a")
    conn.execute("update pgflow.runs set started_at = now() - interval '2 days', failed_at = now() - interval '1 day'")
    prune(conn, "1 hour")
    assert counts(conn) == {"runs": 0, "step_states": 0, "step_tasks": 0}


@pytest.mark.usefixtures("flow")
def test_a_run_that_still_goes_on_stays_however_old(conn: psycopg.Connection) -> None:
    start(conn, "flow")
    conn.execute("update pgflow.runs set started_at = now() - interval '10 years'")
    conn.execute("update pgflow.step_states set created_at = now() - interval '10 years'")
    conn.execute("update pgflow.step_tasks set queued_at = now() - interval '10 years'")
    conn.execute("update pgmq.q_flow set enqueued_at = now() - interval '10 years'")
    prune(conn)
    assert counts(conn) == {"runs": 1, "step_states": 1, "step_tasks": 1}
    assert queued(conn, "flow") == [("a", 0)]


@pytest.mark.usefixtures("flow")
def test_messages_of_a_pruned_run_are_deleted_not_archived(conn: psycopg.Connection) -> None:
    ended(conn)
    kept = start(conn, "flow")
    msg_id = value(conn, "select pgmq.send('flow', '{}')")
    conn.execute("update pgflow.step_tasks set message_id = %s where run_id <> %s", (msg_id, kept))
    conn.execute("truncate pgmq.a_flow")
    prune(conn)
    assert (queued(conn, "flow"), archived(conn, "flow")) == ([("a", 0)], [])


@pytest.mark.usefixtures("flow")
def test_a_null_message_id_is_no_hindrance(conn: psycopg.Connection) -> None:
    ended(conn)
    conn.execute("update pgflow.step_tasks set message_id = null")
    prune(conn)
    assert counts(conn)["runs"] == 0


def test_archived_messages_of_every_flow_go_by_their_age(conn: psycopg.Connection) -> None:
    for slug in ("flow", "MyFlow"):
        create_flow(conn, slug, "a")
        for days in (29, 31):
            ended(conn, slug, days=0)
            conn.execute(
                f"""update pgmq.a_{slug.lower()} set archived_at = now() - make_interval(days => %s)
                     where archived_at > now() - interval '1 day'""",
                (days,),
            )
    prune(conn)
    assert [len(archived(conn, slug)) for slug in ("flow", "MyFlow")] == [1, 1]
    assert counts(conn)["runs"] == 4


def test_workers_go_by_their_last_heartbeat(conn: psycopg.Connection) -> None:
    for days in (29, 31):
        worker_id = add_worker(conn, f"seen_{days}_days_ago")
        conn.execute(
            "update pgflow.workers set last_heartbeat_at = now() - make_interval(days => %s) where worker_id = %s",
            (days, worker_id),
        )
    prune(conn)
    assert rows(conn, "select queue_name from pgflow.workers") == [("seen_29_days_ago",)]


@pytest.mark.usefixtures("flow")
def test_a_worker_that_tasks_name_is_no_hindrance(conn: psycopg.Connection) -> None:
    start(conn, "flow")
    poll_and_start(conn, "flow", add_worker(conn, "flow"))
    conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 year'")
    prune(conn)
    assert value(conn, "select count(*) from pgflow.workers") == 0
    assert counts(conn)["step_tasks"] == 1


@pytest.mark.usefixtures("flow")
def test_what_is_exactly_as_old_as_the_interval_stays(conn: psycopg.Connection) -> None:
    ended(conn, days=0)
    ended(conn, failing=True, days=0)
    with conn.transaction():  # now() stands still
        conn.execute("update pgflow.runs set started_at = now() - interval '2 hours'")
        conn.execute("update pgflow.runs set completed_at = now() - interval '1 hour' where completed_at is not null")
        conn.execute("update pgflow.runs set failed_at = now() - interval '1 hour' where failed_at is not null")
        conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 hour'")
        conn.execute("update pgmq.a_flow set archived_at = now() - interval '1 hour'")
        before = counts(conn), value(conn, "select count(*) from pgflow.workers"), archived(conn, "flow")
        prune(conn, "1 hour")
        after = counts(conn), value(conn, "select count(*) from pgflow.workers"), archived(conn, "flow")
        assert after == before
        prune(conn, "59 minutes 59 seconds")
        assert (counts(conn)["runs"], archived(conn, "flow")) == (0, [])


def test_a_flow_whose_queue_is_gone_is_no_hindrance(conn: psycopg.Connection) -> None:
    conn.execute("insert into pgflow.flows (flow_slug) values ('by_hand')")
    create_flow(conn, "flow", "a")
    ended(conn)
    prune(conn)
    assert counts(conn)["runs"] == 0


def test_other_clients_may_replace_it(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        create_flow(conn, "flow", "a")
        ended(conn)
        conn.execute(
            """create or replace function pgflow.prune_data_older_than(retention_interval interval) returns void
               language plpgsql as $$ begin raise notice 'replaced'; end $$"""
        )
        prune(conn)
        assert counts(conn)["runs"] == 1


def test_a_run_of_a_flow_without_a_queue_goes_too(conn: psycopg.Connection, flow: str) -> None:
    ended(conn)
    conn.execute("select pgmq.drop_queue('flow')")
    prune(conn)
    assert set(counts(conn).values()) == {0}
