"""A flow, and runs of it that stand wherever a run can stand: what an upgrade finds in a living database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import psycopg

from pgflow import Flow, calls
from pgflow.records import Outcome, Task
from tests.sql.engine.work import add_our_worker, completed, failed, lapse, poll, poll_one, run, settle
from tests.sql.flows import poll_and_start, start

orders: Flow[Any, Any] = Flow("orders", base_delay=1, max_attempts=3)


@orders.step
def items(flow_input: dict[str, Any]) -> list[int]:
    return list(range(flow_input["size"]))


@orders.map(over=items)
def price(item: int) -> int:
    return 10 * item


@orders.step(run_if={"gift": True})
def wrap(flow_input: dict[str, Any]) -> str:
    return "in paper"


@orders.step
def total(price: list[int], wrap: str | None = None) -> str:
    return f"{sum(price)}, {wrap or 'as it is'}"


#: Short, so that nobody waits long for what its worker left behind.
LEASE = 2


def run_id(case: str) -> UUID:
    """The id of the run that stands so."""
    return uuid5(UUID(int=0), case)


def put_in_flight(conn: psycopg.Connection) -> None:
    """Runs of every kind. Each is left with nothing to poll, but for the last two."""
    run(conn, calls.ensure_flow_compiled("orders", orders.shape()))
    _give_up(conn)
    worker = add_our_worker(conn, "orders", LEASE)
    _complete(conn, worker)
    _fail(conn, worker)
    _cancel(conn, worker)
    _retry(conn, worker)
    _delay(conn)
    _start_by_contract(conn)
    for case in ("leased", "held"):
        _start(conn, case)
        poll_one(conn, worker, "orders", lease=LEASE)
    _complete_half(conn, worker)
    _start(conn, "queued")


def _start(conn: psycopg.Connection, case: str, *, gift: bool = False) -> None:
    start(conn, "orders", _order(gift), run_id(case))


def _order(gift: bool) -> dict[str, Any]:
    return {"size": 4, "gift": gift}


def _give_up(conn: psycopg.Connection) -> None:
    """Four workers vanish with its first task."""
    _start(conn, "given up")
    while poll(conn, add_our_worker(conn, "orders", LEASE), "orders"):
        lapse(conn, "orders")
        conn.execute("update pgflow.workers set stopped_at = now()")


def _complete(conn: psycopg.Connection, worker: UUID) -> None:
    _start(conn, "completed", gift=True)
    while tasks := poll(conn, worker, "orders"):
        settle(conn, worker, *map(_worked, tasks))


def _fail(conn: psycopg.Connection, worker: UUID) -> None:
    """One element fails; of its siblings one has completed, one is held, and one is queued."""
    _start(conn, "failed")
    settle(conn, worker, _worked(poll_one(conn, worker, "orders")))
    first, second, _ = poll(conn, worker, "orders", qty=3)
    settle(conn, worker, _worked(first), failed(second, "no such item", permanent=True))


def _cancel(conn: psycopg.Connection, worker: UUID) -> None:
    _start(conn, "cancelled")
    poll_one(conn, worker, "orders")
    run(conn, calls.cancel_run(run_id("cancelled"), "changed their mind"))


def _retry(conn: psycopg.Connection, worker: UUID) -> None:
    """Its task has failed once and waits, hidden."""
    _start(conn, "retrying")
    settle(conn, worker, failed(poll_one(conn, worker, "orders"), "not yet", retry_in=LEASE))


def _delay(conn: psycopg.Connection) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    order = json.dumps(_order(False)).encode()
    run(conn, calls.start_flows("orders", [order], run_ids=[run_id("delayed")], start_at=tomorrow))


def _start_by_contract(conn: psycopg.Connection) -> None:
    """By a worker of another implementation: without a lease."""
    _start(conn, "by contract")
    poll_and_start(conn, "orders")


def _complete_half(conn: psycopg.Connection, worker: UUID) -> None:
    """Of a map's four tasks two are completed, one is held, and one is queued."""
    _start(conn, "half")
    settle(conn, worker, _worked(poll_one(conn, worker, "orders")))
    first, second, _ = poll(conn, worker, "orders", qty=3)
    settle(conn, worker, _worked(first), _worked(second))


def _worked(task: Task) -> Outcome:
    """What the task's handler would have returned."""
    step, given = orders.steps[task.step_slug], json.loads(task.input or b"null")
    if step is price:
        return completed(task, price(given))
    if step is total:
        return completed(task, total(**given))
    return completed(task, step(json.loads(task.flow_input)))
