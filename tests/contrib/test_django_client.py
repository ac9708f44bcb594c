"""The client on Django's connection: what it does is part of the transaction that is open there."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import psycopg
import pytest
from django.db import connections
from django.db.transaction import TransactionManagementError, atomic, set_rollback

import pgflow
from pgflow.contrib.django import client
from pgflow.errors import DatabaseUnreachable, FlowNotFound, InvalidInputError
from tests.client.test_wait import waiting
from tests.db.test_callers import Undone, orders
from tests.support import eventually, rows, value
from tests.worker.support import kill_backends


@pytest.fixture(autouse=True)
def _alias(alias: str) -> Iterator[None]:
    yield
    connections[alias].close()


def count(conn: psycopg.Connection) -> int:
    return int(value(conn, "select count(*) from pgflow.runs"))


#: Django's connections, as the server sees them: pgflow's own bear its name.
DJANGOS = "pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name = ''"


def kill(conn: psycopg.Connection) -> None:
    """As if the server were restarted while Django's connections do nothing."""
    conn.execute(f"select pg_terminate_backend(pid, 5000) from {DJANGOS}")


def test_a_run_exists_if_and_only_if_the_atomic_block_commits(conn: psycopg.Connection) -> None:
    with atomic("pgflow"):
        run = client().start(orders(), {"order": 1})
        assert client().get_run(run).status == "started"
        assert count(conn) == 0
    assert rows(conn, "select run_id from pgflow.runs") == [(run.run_id,)]

    def undo() -> None:
        with atomic("pgflow"):
            client().start(orders(), {"order": 2})
            client().start_many(orders("new"), [1, 2])
            client().cancel(run)
            raise Undone

    with pytest.raises(Undone):
        undo()
    assert rows(conn, "select status, input -> 'order' from pgflow.runs") == [("started", 1)]
    assert value(conn, "select count(*) from pgflow.flows") == 1


def test_outside_a_block_it_is_there_at_once(conn: psycopg.Connection) -> None:
    client().start(orders(), 1, key="one")
    assert count(conn) == 1
    client().start(orders(), 1, key="one")
    assert count(conn) == 1


def test_a_job_joins_the_transaction_too(conn: psycopg.Connection) -> None:
    @pgflow.job
    def send(to: str) -> None: ...

    with atomic("pgflow"):
        send.enqueue("ada", client=client())
        assert count(conn) == 0
    assert rows(conn, "select input from pgflow.runs") == [({"to": "ada"},)]


def test_a_connection_of_the_callers_wins(dsn: str, conn: psycopg.Connection) -> None:
    with psycopg.connect(dsn) as other:
        client().start(orders(), 1, connection=other)
        assert count(conn) == 0
    assert count(conn) == 1


def test_what_is_refused_raises_pgflows_errors(conn: psycopg.Connection) -> None:
    with pytest.raises(InvalidInputError):
        client().start(orders(), object())
    with pytest.raises(FlowNotFound), atomic("pgflow"):
        client().start("nowhere", 1)
    run = client().start(orders(), 1)
    with pytest.raises(pgflow.errors.DatabaseError, match="there is a run of this run_id already"), atomic("pgflow"):
        client().start(orders(), 1, run_id=run.run_id)
    assert count(conn) == 1


def test_a_connection_that_died_is_replaced(conn: psycopg.Connection) -> None:
    run = client().start(orders(), 1)
    kill(conn)
    with pytest.raises(DatabaseUnreachable):
        client().get_run(run)
    assert client().get_run(run).run_id == run.run_id
    kill(conn)
    with pytest.raises(DatabaseUnreachable):
        client().start(orders(), 1)
    client().start(orders(), 1)
    assert count(conn) == 2


def test_waiting_and_events_hear_of_the_end(conn: psycopg.Connection) -> None:
    run = client().start(orders(), 1)
    events = client().events(run)
    assert next(events).type == "run:started"
    client().cancel(run)
    assert [event.type for event in events][-1] == "run:failed"
    assert client().wait(run, timeout=20).status == "cancelled"


def test_a_wait_outlives_its_connections(conn: psycopg.Connection, dsn: str) -> None:
    run = client().start(orders(), 1)
    ended: list[pgflow.Run] = []

    def wait() -> None:
        ended.append(client().wait(run, timeout=60))
        connections.close_all()

    thread = Thread(target=wait)
    thread.start()
    for _ in range(2):
        eventually(lambda: waiting(conn) and kill_backends(conn))
        kill(conn)
        eventually(lambda: not waiting(conn))
    with pgflow.Client(dsn) as other:
        other.cancel(run)
    thread.join(60)
    assert [run.status for run in ended] == ["cancelled"]


def test_waiting_inside_a_block_is_refused(conn: psycopg.Connection) -> None:
    with atomic("pgflow"):
        run = client().start(orders(), 1)
        with pytest.raises(TransactionManagementError, match="wait after the atomic block"):
            client().wait(run)
    assert count(conn) == 1


def test_every_thread_has_its_own_connection(conn: psycopg.Connection) -> None:
    def start() -> None:
        client().start(orders(), 1)
        connections.close_all()

    client().compile(orders())
    with atomic("pgflow"):
        client().start(orders(), 2)
        thread = Thread(target=start)
        thread.start()
        thread.join()
        set_rollback(True, "pgflow")
    assert rows(conn, "select input from pgflow.runs") == [(1,)]


def test_what_django_refuses_raises_djangos_errors() -> None:
    with atomic("pgflow"):
        set_rollback(True, "pgflow")
        with pytest.raises(TransactionManagementError, match="until the end of the 'atomic' block"):
            client().start(orders(), 1)


async def test_an_async_view_is_told_to_use_a_thread() -> None:
    from asgiref.sync import sync_to_async
    from django.core.exceptions import SynchronousOnlyOperation

    with pytest.raises(SynchronousOnlyOperation):
        client().start(orders(), 1)

    def start() -> str:
        status = client().start(orders(), 1).status
        connections.close_all()
        return status

    assert await sync_to_async(start)() == "started"
