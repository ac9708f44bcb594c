"""What must not lose or repeat a result: killed connections, a restarted server, a killed worker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, Worker, embedded, schema
from tests.support import aeventually, eventually, rows, value
from tests.worker.support import kill_backends, process

#: Counts, per task, how often a result was accepted, whoever writes it.
AUDIT = """
create table accepted (step_slug text, task_index int, worker_id uuid, output jsonb);
create function note_accepted() returns trigger language plpgsql as $$
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


@pytest.fixture
def own_server(embedded_directory: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server that a test may restart, and its data directory."""
    with embedded.start(embedded_directory) as server:
        schema.migrate(server.dsn)
        yield server.dsn, server.directory


def crash(directory: Path) -> None:
    """Kills the postmaster; its children follow."""
    os.kill(int((directory / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@pytest.mark.slow
async def test_results_that_are_held_while_the_server_restarts_are_not_lost(
    own_server: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    dsn, directory = own_server
    flow = Flow("restart")
    calls: list[int] = []
    enough = asyncio.Event()

    @flow.map
    async def handler(n: int) -> int:
        calls.append(n)
        await enough.wait()
        return n

    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(AUDIT)
    with caplog.at_level(logging.WARNING, "pgflow"):
        async with Worker([flow], dsn=dsn, concurrency=30, poll_interval=0.1), AsyncClient(dsn) as client:
            waiting = asyncio.create_task(client.wait(await client.start(flow, list(range(20))), timeout=60))
            await aeventually(lambda: len(calls) == 20)
            await asyncio.to_thread(crash, directory)
            await aeventually(lambda: "fetching tasks fails" in caplog.text)  # its children lived a little longer
            enough.set()  # all twenty end while the database is away
            await aeventually(lambda: "settling results fails" in caplog.text)
            with await asyncio.to_thread(embedded.start, directory):
                assert (await waiting).output == {"handler": list(range(20))}
                with psycopg.connect(dsn) as conn:
                    assert_each_was_accepted_once(conn, 20)
    assert sorted(calls) == list(range(20))
    said = [r.getMessage().split(" fails, will keep trying")[0] for r in caplog.records if r.name.startswith("pgflow")]
    assert sum("settling results works again" in text for text in said) == 1
    assert sorted(said) == sorted(set(said))  # each part says it once
