"""Events, live: all of them, once, in order, whatever is lost on the way; and cheap."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgflow import AsyncClient, Event, Flow, Worker
from pgflow.errors import FlowNotFound, InvalidInputError, RunNotFound
from tests.client.conftest import Ask
from tests.support import aeventually, eventually, rows, value
from tests.worker.support import kill_backends

HAPPENED = [
    "run:started",
    "step:started each",
    "step:completed each",
    "step:started total",
    "step:completed total",
    "step:skipped never",
    "run:completed",
]


@pytest.fixture
def flow() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("seen", max_attempts=1)
    flow.map(slug="each")(lambda n: 10 // n)
    flow.step(slug="total")(lambda each: sum(each))
    flow.step(slug="never", run_if={"total": "never"})(lambda total: total)
    return flow


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the tables but when told to."""
    for twin in ("_async_events", "_sync_events"):
        monkeypatch.setattr(f"pgflow.client.{twin}._FIRST_LOOK", 1000.0)
        monkeypatch.setattr(f"pgflow.client.{twin}._LONGEST_LOOK", 1000.0)


@pytest.fixture
async def client(dsn: str) -> Any:
    async with AsyncClient(dsn) as opened:
        yield opened


async def collect(ask: Ask, events: Any, until: int | None = None) -> list[Event]:
    """What an iterator of either client brings, to its end or so many."""

    def blocking() -> list[Event]:
        found = []
        for event in events:
            found.append(event)
            if len(found) == until:
                events.close()
        return found

    if hasattr(events, "__next__"):
        return await asyncio.to_thread(blocking)
    found = []
    async for event in events:
        found.append(event)
        if len(found) == until:
            await events.aclose()
    return found


def names(events: list[Event]) -> list[str]:
    return [f"{event.type} {event.step_slug or ''}".strip() for event in events]


def listening(conn: psycopg.Connection) -> int:
    return value(
        conn,
        "select count(*) from pg_stat_activity "
        "where datname = current_database() and query ilike 'listen%%pgflow_events%%'",
    )


def waiting(conn: psycopg.Connection) -> int:
    """How many of the database's connections wait for a lock."""
    conn.execute("select pg_stat_clear_snapshot()")  # else the first look in a transaction is the last
    return value(
        conn,
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )


async def events_of(ask: Ask, *args: Any, **options: Any) -> Any:
    """The iterator of either client; making it does no I/O."""
    client = ask.client  # type: ignore[attr-defined]
    return client.events(*args, **options)


async def test_a_run_tells_all_from_its_start_to_its_end(ask: Ask, dsn: str, flow: Flow) -> None:
    run = await ask("start", flow, [1, 2])
    watching = asyncio.create_task(collect(ask, await events_of(ask, run)))
    async with Worker([flow], dsn=dsn):
        events = await asyncio.wait_for(watching, 60)
    assert names(events) == HAPPENED
    assert {(e.run_id, e.flow_slug) for e in events} == {(run.run_id, "seen")}
    assert [e.status for e in events] == [e.type.split(":")[1] for e in events]
    assert [e.at for e in events] == sorted(e.at for e in events)
    assert await collect(ask, await events_of(ask, str(run.run_id))) == events, "later, the rows tell the same"


async def test_notifications_alone_bring_everything(
    ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection, patient: None
) -> None:
    run = await ask("start", flow, [1, 2])
    watching = asyncio.create_task(collect(ask, await events_of(ask, run)))
    await aeventually(lambda: listening(conn))
    async with Worker([flow], dsn=dsn):
        assert names(await asyncio.wait_for(watching, 60)) == HAPPENED


async def test_nothing_depends_on_notifications(ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection) -> None:
    conn.execute(f"alter database {conn.info.dbname} set pgflow.notify = 'off'")
    kill_backends(conn)  # what is connected already keeps the setting it had
    run = await ask("start", flow, [1, 2])
    watching = asyncio.create_task(collect(ask, await events_of(ask, run)))
    async with Worker([flow], dsn=dsn, poll_interval=0.1):
        assert names(await asyncio.wait_for(watching, 60)) == HAPPENED


async def test_a_failed_and_a_cancelled_run_end_with_their_error(ask: Ask, dsn: str, flow: Flow) -> None:
    run = await ask("start", flow, [0])
    async with Worker([flow], dsn=dsn):
        events = await asyncio.wait_for(collect(ask, await events_of(ask, run)), 60)
    assert names(events) == ["run:started", "step:started each", "step:failed each", "run:failed"]
    assert events[-1].status == "failed"
    assert events[-1].error == events[-2].error == "ZeroDivisionError: integer division or modulo by zero"
    cancelled = await ask("cancel", await ask("start", flow, [1]), reason="enough")
    last = (await collect(ask, await events_of(ask, cancelled)))[-1]
    assert (last.type, last.status, last.error) == ("run:failed", "cancelled", "Cancelled: enough")


async def test_a_flow_tells_of_all_its_runs_from_now_on(
    ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection
) -> None:
    old = await ask("start", flow, [1])
    events = await events_of(ask, flow=flow)
    watching = asyncio.create_task(collect(ask, events, until=3 * len(HAPPENED) - 2))
    await aeventually(lambda: listening(conn))
    runs = await ask("start_many", flow, [[1], [2, 3]])
    async with Worker([flow], dsn=dsn):
        seen = await asyncio.wait_for(watching, 60)
    told = {run.run_id: [e for e in seen if e.run_id == run.run_id] for run in (old, *runs)}
    assert names(told[old.run_id]) == HAPPENED[2:], "it had started before"
    for run in runs:
        assert names(told[run.run_id]) == HAPPENED
    await aeventually(lambda: not listening(conn))


async def test_none_is_missed_while_connections_are_lost(
    ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection
) -> None:
    run = await ask("start", flow, [1, 2])
    watching = asyncio.create_task(collect(ask, await events_of(ask, run)))
    for _ in range(2):
        await aeventually(lambda: listening(conn) and kill_backends(conn))
    async with Worker([flow], dsn=dsn):
        await aeventually(lambda: value(conn, "select count(*) from pgflow.step_states where status = 'completed'"))
        kill_backends(conn)
        assert names(await asyncio.wait_for(watching, 60)) == HAPPENED


async def test_what_happens_while_nobody_listens_is_seen_as_soon_as_somebody_does(
    ask: Ask, flow: Flow, conn: psycopg.Connection, patient: None
) -> None:
    run = await ask("start", flow, [1])
    events = await events_of(ask, run)
    watching = asyncio.create_task(collect(ask, events))
    await aeventually(lambda: listening(conn) and events._watching._rest_until)
    assert kill_backends(conn)
    conn.execute("select pgflow.cancel_run(%s)", (run.run_id,))
    assert names(await asyncio.wait_for(watching, 60))[-1] == "run:failed"


async def test_a_retried_run_starts_again_for_those_who_watch_its_flow(
    client: AsyncClient, dsn: str, conn: psycopg.Connection
) -> None:
    flow: Flow[Any, Any] = Flow("again", max_attempts=1)
    outcomes = iter([ZeroDivisionError("no"), None])

    @flow.step
    def first(flow_input: int) -> int:
        return flow_input

    @flow.step
    def second(first: int) -> int:
        if (error := next(outcomes)) is not None:
            raise error
        return first

    await client.compile(flow)
    async with client.events(flow=flow) as events, Worker([flow], dsn=dsn):
        watching = asyncio.create_task(collect(Any, events, until=10))  # type: ignore[arg-type]
        await aeventually(lambda: listening(conn))
        run = await client.wait(await client.start(flow, 1), timeout=60)
        await aeventually(lambda: list(events.news._open.values()) == [False])  # a retry takes back what failed
        await client.retry(run)
        assert names(await asyncio.wait_for(watching, 60)) == [
            "run:started", "step:started first", "step:completed first",
            "step:started second", "step:failed second", "run:failed",
            "run:started", "step:started second", "step:completed second", "run:completed",
        ]  # fmt: skip


async def test_what_is_not_there_is_said_so(ask: Ask, flow: Flow) -> None:
    with pytest.raises(RunNotFound):
        await collect(ask, await events_of(ask, uuid4()))
    with pytest.raises(FlowNotFound, match="'seen' is not in the database"):
        await collect(ask, await events_of(ask, flow=flow))
    for args, options in [((), {}), ((uuid4(),), {"flow": flow}), (("no id",), {})]:
        with pytest.raises(InvalidInputError):
            await events_of(ask, *args, **options)


async def test_a_run_that_is_deleted_ends_with_an_error(ask: Ask, flow: Flow, conn: psycopg.Connection) -> None:
    run = await ask("start", flow, [1])
    watching = asyncio.create_task(collect(ask, await events_of(ask, run)))
    await aeventually(lambda: listening(conn))
    conn.execute("select pgflow.delete_flow_and_data('seen')")
    with pytest.raises(RunNotFound):
        await asyncio.wait_for(watching, 60)


async def test_iterators_end_with_their_client(ask: Ask, flow: Flow, conn: psycopg.Connection) -> None:
    runs = await ask("start_many", flow, [[1], [2]])
    iterators = [await events_of(ask, run) for run in runs]
    watching = [asyncio.create_task(collect(ask, events)) for events in iterators]
    await aeventually(lambda: all(events._begun for events in iterators) and listening(conn))
    await ask("close")
    for events in await asyncio.wait_for(asyncio.gather(*watching), 60):
        assert names(events)[:2] == HAPPENED[:2]
    await aeventually(lambda: not listening(conn))


async def test_an_iterator_that_begins_while_its_client_closes_ends_with_it(
    ask: Ask, flow: Flow, conn: psycopg.Connection
) -> None:
    events = await events_of(ask, await ask("start", flow, [1]))
    with conn.transaction():
        conn.execute("lock table pgflow.watches")
        beginning = asyncio.create_task(collect(ask, events))
        await aeventually(lambda: waiting(conn))
        stopping = ask.client._watching.stop()  # type: ignore[attr-defined]  # as close does, before the database's
        if asyncio.iscoroutine(stopping):
            await stopping
    assert names(await asyncio.wait_for(beginning, 60))[:2] == HAPPENED[:2]


# ---------------------------------------------------------------------------------------- costs


async def test_two_hundred_watchers_share_a_connection_and_their_looks(
    client: AsyncClient, dsn: str, flow: Flow, conn: psycopg.Connection, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    run_call = type(client._database).run

    async def counted(database: Any, call: Any) -> Any:
        if "horizon" in call.sql:
            looks.append(call.sql)
        return await run_call(database, call)

    runs = await client.start_many(flow, [[1, 2]] * 50)
    monkeypatch.setattr(type(client._database), "run", counted)
    watching = [asyncio.create_task(collect(Any, client.events(runs[n % 50]))) for n in range(200)]  # type: ignore[arg-type]
    await aeventually(lambda: len(client._watching._watchers) == 200 and listening(conn))
    await aeventually(lambda: len(looks) > 200)
    assert listening(conn) == 1
    before = len(looks)
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with Worker([flow], dsn=dsn):
        seen = await asyncio.wait_for(asyncio.gather(*watching), 100)
    spent = len(looks) - before
    assert all(names(events) == HAPPENED for events in seen)
    assert spent <= (loop.time() - start) / 0.05 + 2, "a look each 50 ms at most, whatever is watched"


async def test_between_two_looks_passes_twenty_times_what_one_took(
    client: AsyncClient, dsn: str, flow: Flow, conn: psycopg.Connection, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    loop = asyncio.get_running_loop()
    run_call = type(client._database).run

    async def slow(database: Any, call: Any) -> Any:
        if "horizon" in call.sql:
            looks.append(loop.time())
            await asyncio.sleep(0.02)
        return await run_call(database, call)

    runs = await client.start_many(flow, [[1, 2]] * 20)
    monkeypatch.setattr(type(client._database), "run", slow)
    watching = asyncio.create_task(collect(Any, client.events(runs[0])))  # type: ignore[arg-type]
    await aeventually(lambda: listening(conn) and len(looks) == 2)
    async with Worker([flow], dsn=dsn, concurrency=1):
        assert names(await asyncio.wait_for(watching, 60)) == HAPPENED
    pauses = [after - before for before, after in itertools.pairwise(looks[1:])]
    assert pauses
    assert min(pauses) >= 20 * 0.02


async def test_nobody_is_told_while_nobody_watches(dsn: str, flow: Flow, conn: psycopg.Connection) -> None:
    heard: list[str] = []
    conn.add_notify_handler(lambda notification: heard.append(notification.payload))
    conn.execute("listen pgflow_events")
    async with AsyncClient(dsn) as client, Worker([flow], dsn=dsn):
        await client.wait(await client.start(flow, [1, 2]), timeout=60)
    conn.execute("select 1")
    assert heard == []
    assert rows(conn, "select * from pgflow.watches") == []


def test_many_events_share_a_payload_and_hold_no_values(conn: psycopg.Connection) -> None:
    slug = "f" * 47
    conn.execute("select pgflow.create_flow(%s)", (slug,))
    conn.execute("select pgflow.add_step(%s, %s)", (slug, "s" * 128))
    heard: list[str] = []
    conn.add_notify_handler(lambda notification: heard.append(notification.payload))
    conn.execute("listen pgflow_events")
    conn.execute("select pgflow.watch('{}', array[%s, %s], 60)", (slug, slug))
    conn.execute("select pgflow.start_flows(%s, array_fill('\"secret\"'::jsonb, array[100]))", (slug,))
    eventually(lambda: conn.execute("select 1") and len(heard) == 10)
    assert "secret" not in "".join(heard)
    conn.execute("update pgflow.watches set until = now() - interval '1 s'")
    conn.execute("select pgflow.start_flow(%s, '1')", (slug,))
    conn.execute("select pgflow.watch('{}', array['other'], 60)")
    assert rows(conn, "select subject from pgflow.watches") == [("other",)]
    assert len(heard) == 10


def test_a_watch_is_written_by_the_first_who_renews_it(conn: psycopg.Connection) -> None:
    conn.execute("select pgflow.watch('{}', '{f}', 60)")
    first = value(conn, "select until from pgflow.watches")
    conn.execute("select pgflow.watch('{}', '{f}', 60)")
    assert value(conn, "select until from pgflow.watches") == first
    conn.execute("update pgflow.watches set until = now() + interval '29 s'")
    conn.execute("select pgflow.watch('{}', '{f}', 60)")
    assert value(conn, "select until > now() + interval '50 s' from pgflow.watches")
