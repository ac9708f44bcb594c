"""What must not lose or repeat a result: killed connections, a restarted server, a killed worker."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, Worker
from tests.support import aeventually, eventually, rows, value
from tests.worker.support import kill_backends, process

#: Counts, per task, how often a result was accepted, whoever writes it.
AUDIT = """
create table accepted (step_slug text, task_index int, worker_id uuid, output jsonb);
create function note_accepted() returns trigger language plpgsql security definer as $$
begin
  insert into public.accepted values (new.step_slug, new.task_index, new.last_worker_id, new.output);
  return null;
end $$;
create trigger note_accepted after update on pgflow.step_tasks for each row
  when (old.status is distinct from 'completed' and new.status = 'completed') execute function note_accepted();
"""


def assert_each_was_accepted_once(conn: psycopg.Connection, count: int) -> None:
    """So many tasks of a map whose handler returns its element: all completed, each by one result, the right one."""
    assert rows(conn, "select task_index, output from accepted order by task_index") == [(n, n) for n in range(count)]
    assert (
        value(conn, "select count(*) from pgflow.step_tasks where status = 'completed' and settled_fence = fence")
        == count
    )
    assert value(conn, "select count(*) from pgflow.step_tasks where attempts_count > fence") == 0
    assert value(conn, "select output from pgflow.step_states") == list(range(count))
    assert value(conn, "select remaining_tasks from pgflow.step_states") == 0


async def test_killed_connections_neither_lose_nor_repeat_a_result(
    dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    flow = Flow("killed", base_delay=0)
    done: list[int] = []

    @flow.map
    async def handler(n: int) -> int:
        await asyncio.sleep(0.01)
        done.append(n)
        return n

    conn.execute(AUDIT)
    async with Worker([flow], dsn=dsn, concurrency=10, lease=2), AsyncClient(dsn) as client:
        run = await client.start(flow, list(range(300)))
        waiting = asyncio.create_task(client.wait(run, timeout=60))
        for share in range(1, 6):
            await aeventually(lambda share=share: len(done) >= share * 45)
            assert kill_backends(conn)
        assert (await waiting).output == {"handler": list(range(300))}
    assert_each_was_accepted_once(conn, 300)
    assert "Traceback" not in caplog.text


WORKER = """
    import asyncio, sys
    from pgflow import Flow, Worker

    flow = Flow("crashing", base_delay=0)

    @flow.map
    async def handler(n: int) -> int:
        await asyncio.sleep(0.02)
        return n

    sys.exit(Worker([flow], dsn=sys.argv[1], lease=1, concurrency=20).run())
"""


def test_a_killed_worker_neither_loses_nor_repeats_a_result(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    def done() -> int:
        return value(conn, "select count(*) from accepted")

    conn.execute(AUDIT)
    flow = Flow("crashing", base_delay=0)
    flow.map(slug="handler")(lambda n: n)
    with Client(dsn) as client:
        run = client.start(flow, list(range(500)))
        with process(tmp_path, WORKER, dsn) as first:
            eventually(lambda: done() >= 100)
            first.kill()
            first.wait()
        assert done() < 500
        assert value(conn, "select count(*) from pgflow.step_tasks where status = 'started'") > 0
        with process(tmp_path, WORKER, dsn) as second:
            assert client.wait(run, timeout=60).output == {"handler": list(range(500))}
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0
    assert_each_was_accepted_once(conn, 500)
    assert len({worker for (worker,) in rows(conn, "select distinct worker_id from accepted")}) == 2
    repeated = rows(conn, "select attempts_count, fence, requeued_count from pgflow.step_tasks where fence > 1")
    assert set(repeated) == {(2, 2, 1)}  # the dead worker's tasks: a stall each, and no attempt given back


async def test_a_flow_whose_tasks_cannot_be_claimed_holds_up_no_other(dsn: str, conn: psycopg.Connection) -> None:
    bad, good = Flow("bad"), Flow("good")
    bad.map(slug="each")(lambda n: n)

    @good.map
    async def each(n: int) -> int:
        return n

    async with AsyncClient(dsn) as client, Worker([bad, good], dsn=dsn, concurrency=2, poll_interval=0.1):
        conn.execute(
            """create function pgflow_cannot() returns trigger language plpgsql as $$
                 begin raise exception 'too large' using errcode = '54000'; end $$;
               create trigger cannot before update on pgflow.step_tasks for each row
                 when (new.flow_slug = 'bad' and new.status = 'started') execute function pgflow_cannot()"""
        )
        stuck = await client.start(bad, [1, 2])
        done = await client.wait(await client.start(good, list(range(50))), timeout=30)
        assert done.output == {"each": list(range(50))}
        assert value(conn, "select max(attempts_count) = 1 from pgflow.step_tasks where flow_slug = 'good'")
        conn.execute("drop function pgflow_cannot() cascade")
        assert (await client.wait(stuck, timeout=30)).output == {"each": [1, 2]}
