"""The database goes away, in every way we could think of: results are kept, nothing runs twice, waits go on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow import AsyncClient, Flow, Worker, embedded, schema
from tests.faults.proxy import Proxy
from tests.support import aeventually, rows, value
from tests.worker.support import kill_backends, tasks
from tests.worker.test_faults import AUDIT, assert_each_was_accepted_once

#: A silent network is noticed by the settings of each connection (seconds; the last one milliseconds).
IMPATIENT = {
    "connect_timeout": 2,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 1,
    "tcp_user_timeout": 1500,
}


def waiting_flow(enough: asyncio.Event, calls: list[int]) -> Flow[Any, Any]:
    """A map whose handlers note that they were called, and end when it is enough."""
    flow: Flow[Any, Any] = Flow("outage", timeout=3600)

    @flow.map
    async def handler(n: int) -> int:
        calls.append(n)
        await enough.wait()
        return n

    return flow


async def survive(
    dsn: str, direct: str, outage: AbstractAsyncContextManager[None], caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty handlers end while the database is away: afterwards their results are in it, each once."""
    calls: list[int] = []
    enough = asyncio.Event()
    flow = waiting_flow(enough, calls)
    with psycopg.connect(direct, autocommit=True) as conn:
        conn.execute(AUDIT)
    with caplog.at_level(logging.WARNING, "pgflow"):
        async with Worker([flow], dsn=dsn, concurrency=30, poll_interval=0.1), AsyncClient(dsn) as client:
            waiting = asyncio.create_task(client.wait(await client.start(flow, list(range(20))), timeout=60))
            await aeventually(lambda: len(calls) == 20)
            async with outage:
                await aeventually(lambda: "fetching tasks fails" in caplog.text)
                enough.set()
                await aeventually(lambda: "settling results fails" in caplog.text)
                assert not waiting.done()
            assert (await waiting).output == {"handler": list(range(20))}
            await aeventually(lambda: "fetching tasks works again" in caplog.text)
    with psycopg.connect(direct) as conn:
        assert_each_was_accepted_once(conn, 20)
    assert sorted(calls) == list(range(20))
    said = [r.getMessage().split(" fails, will keep trying")[0] for r in caplog.records if r.name.startswith("pgflow")]
    assert sorted(said) == sorted(set(said))  # each part says it once
    assert "Traceback" not in caplog.text


# ---------------------------------------------------------------------------------------- the network


@asynccontextmanager
async def refused(network: Proxy) -> AsyncIterator[None]:
    network.refuse()
    yield
    await network.heal()


@asynccontextmanager
async def silent(network: Proxy) -> AsyncIterator[None]:
    network.silence()
    yield
    await network.heal()


@pytest.mark.parametrize("cut", [pytest.param(refused), pytest.param(silent, marks=pytest.mark.slow)])
async def test_a_cut_network(
    dsn: str, cut: Callable[[Proxy], AbstractAsyncContextManager[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy(dsn) as network:
        await survive(make_conninfo(network.dsn, **IMPATIENT), dsn, cut(network), caplog)


async def test_connections_that_are_reset_at_work_lose_nothing(dsn: str, conn: psycopg.Connection) -> None:
    flow: Flow[Any, Any] = Flow("resets", base_delay=0)
    done: list[int] = []

    @flow.map
    async def handler(n: int) -> int:
        await asyncio.sleep(0.01)
        done.append(n)
        return n

    conn.execute(AUDIT)
    async with Proxy(dsn) as network:
        network.latency = 0.01
        async with Worker([flow], dsn=network.dsn, concurrency=10, lease=2), AsyncClient(network.dsn) as client:
            waiting = asyncio.create_task(client.wait(await client.start(flow, list(range(100))), timeout=60))
            for share in range(1, 5):
                await aeventually(lambda share=share: len(done) >= share * 20)
                network.reset()
            assert (await waiting).output == {"handler": list(range(100))}
    assert_each_was_accepted_once(conn, 100)


async def test_a_worker_that_stops_meanwhile_waits_for_the_database_within_its_grace(
    dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    enough = asyncio.Event()
    flow = waiting_flow(enough, calls)
    async with Proxy(dsn) as network:
        async with AsyncClient(dsn) as client, Worker([flow], dsn=network.dsn, grace=60):
            run = await client.start(flow, [0, 1])
            await aeventually(lambda: len(calls) == 2)
            network.refuse()
            enough.set()
            await aeventually(lambda: "settling results fails" in caplog.text)
            healing = asyncio.get_running_loop().call_later(0.5, lambda: asyncio.ensure_future(network.heal()))
        assert healing.when() < asyncio.get_running_loop().time()
        async with AsyncClient(dsn) as client:
            assert (await client.get_run(run)).output == {"handler": [0, 1]}


# ---------------------------------------------------------------------------------------- the server


@asynccontextmanager
async def read_only(conn: psycopg.Connection) -> AsyncIterator[None]:
    conn.execute(f"alter database {conn.info.dbname} set default_transaction_read_only = on")
    kill_backends(conn)
    yield
    conn.execute(f"alter database {conn.info.dbname} reset default_transaction_read_only")


@asynccontextmanager
async def no_slot_left(conn: psycopg.Connection) -> AsyncIterator[None]:
    conn.execute(f"alter database {conn.info.dbname} connection limit 0")
    kill_backends(conn)
    yield
    conn.execute(f"alter database {conn.info.dbname} connection limit -1")


@pytest.fixture
def plain_dsn(dsn: str, conn: psycopg.Connection) -> Iterator[str]:
    """`dsn` as a role that is no superuser, for whom limits do not hold."""
    role = f"plain_{conn.info.dbname}"
    conn.execute(f"create role {role} login")
    for schema_name in ("pgflow", "pgmq"):
        conn.execute(f"grant all on schema {schema_name} to {role}")
        for things in ("tables", "sequences", "functions"):
            conn.execute(f"grant all on all {things} in schema {schema_name} to {role}")
    yield make_conninfo(dsn, user=role)
    kill_backends(conn)
    conn.execute(f"drop owned by {role}")
    conn.execute(f"drop role {role}")


@pytest.mark.slow
@pytest.mark.parametrize("outage", [read_only, no_slot_left])
async def test_a_server_that_answers_but_does_not_serve(
    dsn: str,
    plain_dsn: str,
    conn: psycopg.Connection,
    outage: Callable[[psycopg.Connection], AbstractAsyncContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await survive(plain_dsn, dsn, outage(conn), caplog)


@pytest.mark.slow
async def test_sessions_that_are_ended_for_being_idle_do_no_harm(dsn: str, conn: psycopg.Connection) -> None:
    calls: list[int] = []
    enough = asyncio.Event()
    flow = waiting_flow(enough, calls)
    async with Worker([flow], dsn=dsn), AsyncClient(dsn) as client:
        for setting, limit in {"idle_session_timeout": "1s", "idle_in_transaction_session_timeout": "1ms"}.items():
            conn.execute(f"alter database {conn.info.dbname} set {setting} = '{limit}'")
        kill_backends(conn)  # the limits hold for new sessions
        run = await client.start(flow, [1, 2])
        waiting = asyncio.create_task(client.wait(run, timeout=60))
        await aeventually(lambda: len(calls) == 2)
        await asyncio.sleep(2.5)
        enough.set()
        assert (await waiting).output == {"handler": [1, 2]}
        await asyncio.sleep(1.5)
        assert (await client.get_run(run)).status == "completed"  # on connections that were ended meanwhile
    assert {(task["fence"], task["attempts_count"]) for task in tasks(conn, "handler")} == {(1, 1)}


@pytest.fixture
def own_server(embedded_directory: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server that a test may restart, and its data directory."""
    with embedded.start(embedded_directory) as server:
        schema.migrate(server.dsn)
        yield server.dsn, server.directory


def crash(directory: Path) -> None:
    """Kills the postmaster; its children follow."""
    os.kill(int((directory / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@asynccontextmanager
async def restarted(dsn: str, directory: Path) -> AsyncIterator[None]:
    crash(directory)
    yield
    await asyncio.to_thread(embedded.start, directory)


@asynccontextmanager
async def in_recovery(dsn: str, directory: Path) -> AsyncIterator[None]:
    """The server comes back as a standby, which is promoted in the end."""
    crash(directory)
    (directory / "data" / "standby.signal").touch()
    await asyncio.to_thread(embedded.start, directory)
    with psycopg.connect(dsn, autocommit=True, application_name="test") as conn:
        assert value(conn, "select pg_is_in_recovery()")
        yield
        refused = "select xact_rollback from pg_stat_database where datname = current_database()"
        before = value(conn, refused)
        await aeventually(lambda: value(conn, refused) > before)  # the worker is back, and tries in vain
        assert value(conn, "select pg_promote()")


@pytest.mark.slow
@pytest.mark.parametrize("outage", [restarted, in_recovery])
async def test_a_server_that_was_killed(
    own_server: tuple[str, Path],
    outage: Callable[[str, Path], AbstractAsyncContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await survive(own_server[0], own_server[0], outage(*own_server), caplog)


# ---------------------------------------------------------------------------------------- for long

TEN_MINUTES_LATER = """
update pgflow.workers set last_heartbeat_at = last_heartbeat_at - interval '10 min';
update pgflow.step_tasks
   set queued_at = queued_at - interval '10 min', started_at = started_at - interval '10 min',
       leased_until = leased_until - interval '10 min';
update pgflow.flows set looked_at = looked_at - interval '10 min';
update pgmq.q_outage set vt = vt - interval '10 min';
"""


async def test_ten_minutes_without_the_database_cost_no_lease(
    dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    enough = asyncio.Event()
    flow = waiting_flow(enough, calls)
    conn.execute(AUDIT)
    async with Proxy(dsn) as network:
        options = {"dsn": network.dsn, "concurrency": 40, "poll_interval": 0.1}
        async with Worker([flow], **options), AsyncClient(network.dsn) as client:
            waiting = asyncio.create_task(client.wait(await client.start(flow, list(range(20))), timeout=60))
            await aeventually(lambda: len(calls) == 20)
            async with Worker([flow], **options):
                network.refuse()
                await aeventually(lambda: caplog.text.count("fetching tasks fails") == 2)
                conn.execute(TEN_MINUTES_LATER)
                await network.heal()
                alive = "select count(*) from pgflow.workers where last_heartbeat_at > now() - interval '1 min'"
                await aeventually(lambda: value(conn, alive) == 2)
                await aeventually(lambda: caplog.text.count("fetching tasks works again") == 2)
                enough.set()
                assert (await waiting).output == {"handler": list(range(20))}
    assert_each_was_accepted_once(conn, 20)
    assert sorted(calls) == list(range(20))
    assert rows(conn, "select distinct fence, attempts_count, requeued_count from pgflow.step_tasks") == [(1, 1, 0)]
