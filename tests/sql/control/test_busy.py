"""Run control while eight connections poll, settle, fail, extend and complete: what each promises holds all the time.

Every claim is written down, with the time its transaction began and its own: whatever was claimed though nothing might
be is found afterwards, however briefly it was so.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.sql.control.test_races import check_invariants, control
from tests.sql.engine.test_races import THREADS, Chaos, at_work, check_outputs, create_flows, finish, start_some
from tests.sql.flows import Row, call, run_row
from tests.support import eventually, rows, value

pytestmark = pytest.mark.slow

_LOG = """
create table claims (flow_slug text, run_id uuid, step_slug text, task_index int, fence bigint,
                     began timestamptz default now(), at timestamptz default clock_timestamp());
create function log_claim() returns trigger language plpgsql as $$
begin
  insert into public.claims values (new.flow_slug, new.run_id, new.step_slug, new.task_index, new.fence);
  return null;
end $$;
create trigger log_claim after update of status on pgflow.step_tasks
  for each row when (old.status = 'queued' and new.status = 'started') execute function public.log_claim();
"""


@contextmanager
def busy(conn: psycopg.Connection, dsn: str) -> Iterator[None]:
    """Flows `one` and `two` at work during the block, and brought to their ends after it; nothing may be wrong then."""
    create_flows(conn)
    conn.execute(_LOG)
    workers = [Chaos(dsn, seed) for seed in range(THREADS)]
    with at_work(workers):
        await_claims(conn, "one")
        yield
    check_invariants(conn)
    check_outputs(conn, workers)
    check_fences(conn)
    finish(conn)
    check_invariants(conn)
    check_fences(conn)


def await_claims(conn: psycopg.Connection, slug: str, of: uuid.UUID | None = None, more: int = 20) -> None:
    """Until so many more tasks of a flow, or of one run, were claimed."""
    sql = "select count(*) from claims where flow_slug = %s and (%s::uuid is null or run_id = %s)"
    before = value(conn, sql, slug, of, of)
    eventually(lambda: value(conn, sql, slug, of, of) >= before + more, within=60)


def check_fences(conn: psycopg.Connection) -> None:
    """No two claims of a task were ever under one fence."""
    assert (
        rows(conn, "select run_id, step_slug, task_index, fence from claims group by 1, 2, 3, 4 having count(*) > 1")
        == []
    )


def clock(conn: psycopg.Connection) -> Any:
    return value(conn, "select clock_timestamp()")


def a_busy_run(conn: psycopg.Connection) -> uuid.UUID:
    """A run of `one` with tasks at work and much before it."""
    start_some(conn, "one")
    found: list[tuple[uuid.UUID]] = eventually(
        lambda: rows(
            conn,
            "select r.run_id from pgflow.runs r join pgflow.step_tasks t using (run_id) "
            "where r.flow_slug = 'one' and r.status = 'started' and t.status = 'started' "
            "order by r.remaining_steps desc, random() limit 1",
        ),
        within=60,
    )
    return found[0][0]


def cancel(conn: psycopg.Connection, run_id: uuid.UUID) -> Row | None:
    """The cancelled run; None if it ended before."""
    try:
        return call(conn, "cancel_run", run_id=run_id, reason="busy")[0]
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return None


def several(conn: psycopg.Connection, times: int, act: Callable[[uuid.UUID], bool]) -> None:
    """Does it to so many busy runs."""
    done = 0
    while done < times:
        done += act(a_busy_run(conn))


def test_of_a_cancelled_run_nothing_is_claimed_and_nothing_changes(conn: psycopg.Connection, dsn: str) -> None:
    cancelled: dict[uuid.UUID, tuple[Any, Row]] = {}

    def act(run_id: uuid.UUID) -> bool:
        if run := cancel(conn, run_id):
            cancelled[run_id] = clock(conn), run
        return run is not None

    with busy(conn, dsn):
        several(conn, 10, act)
        await_claims(conn, "one")
    for run_id, (at, run) in cancelled.items():
        assert rows(conn, "select * from claims where run_id = %s and began > %s", run_id, at) == []
        assert run_row(conn, run_id) == run


def test_after_a_retry_who_claimed_before_has_no_say(conn: psycopg.Connection, dsn: str) -> None:
    left: dict[tuple[uuid.UUID, str, int], int] = {}

    def act(run_id: uuid.UUID) -> bool:
        if cancel(conn, run_id) is None:
            return False
        of_started = "join pgflow.step_states s using (run_id, step_slug) where s.status = 'started'"
        open_tasks = rows(
            conn,
            f"select t.run_id, t.step_slug, t.task_index, t.fence from pgflow.step_tasks t {of_started} "
            "and t.run_id = %s and t.status <> 'completed'",
            run_id,
        )
        control(conn, "retry_run", run_id)
        left.update({(run, slug, index): fence for run, slug, index, fence in open_tasks})
        return True

    with busy(conn, dsn):
        several(conn, 10, act)
        await_claims(conn, "one")
    settled = {
        (run, slug, index): fence
        for run, slug, index, fence in rows(
            conn,
            "select run_id, step_slug, task_index, settled_fence from pgflow.step_tasks where settled_fence = fence",
        )
    }
    again = [(settled[key], fence) for key, fence in left.items() if key in settled]
    assert again
    assert all(now > before + 1 for now, before in again)


def test_a_rerun_has_what_its_parent_had_and_runs_the_rest(conn: psycopg.Connection, dsn: str) -> None:
    children: list[uuid.UUID] = []

    def act(run_id: uuid.UUID) -> bool:
        (found,) = eventually(
            lambda: rows(
                conn,
                "select s.status from pgflow.step_states s join pgflow.runs r using (run_id) where run_id = %s "
                "and s.step_slug = 'a' and (s.status in ('completed', 'skipped') or r.status <> 'started')",
                run_id,
            ),
            within=60,
        )
        if found != ("completed",):
            return False
        children.extend(call(conn, "rerun", run_id=run_id, from_step=slug)[0]["run_id"] for slug in ("m", "b", "c"))
        return True

    with busy(conn, dsn):
        several(conn, 5, act)
        await_claims(conn, "one", of=children[-1], more=1)
    taken_over = Counter[bool]()
    for child in children:
        for slug, same in rows(
            conn,
            "select s.step_slug, (s.status, s.output) is not distinct from (p.status, p.output) "
            "  from pgflow.step_states s join pgflow.runs r on r.run_id = s.run_id "
            "  join pgflow.step_states p on p.run_id = r.parent_run_id and p.step_slug = s.step_slug "
            " where s.run_id = %s and s.status = 'completed' and s.initial_tasks > 0 and not exists ("
            "   select from pgflow.step_tasks t where t.run_id = s.run_id and t.step_slug = s.step_slug)",
            child,
        ):
            taken_over[same] += 1
            assert same, (child, slug)
        assert run_row(conn, child)["status"] in ("completed", "failed")
    assert taken_over[True] >= len(children)  # `a` at least


def test_of_a_paused_flow_nothing_is_claimed_until_it_is_resumed(conn: psycopg.Connection, dsn: str) -> None:
    paused = []
    with busy(conn, dsn):
        for _ in range(5):
            start_some(conn, "one")
            start_some(conn, "two")
            call(conn, "pause_flow", flow_slug="one")
            since = clock(conn)
            await_claims(conn, "two")  # they are busy
            paused.append((since, clock(conn)))
            call(conn, "resume_flow", flow_slug="one")
            await_claims(conn, "one")
    for since, until in paused:
        sql = "select * from claims where flow_slug = 'one' and began > %s and at < %s"
        assert rows(conn, sql, since, until) == []
