"""Flows, clients and workers of TypeScript's, in Node, beside ours: on pgflow's own core, and on ours."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Flow, Worker
from tests.foreign import npm
from tests.foreign.flows import orders, squares
from tests.support import aeventually, value

pytestmark = pytest.mark.slow

LINES = [{"amount": n, "price": 10} for n in (1, 2, 3, 4)]


async def run_from_node(dsn: str, core: Any, flow: Flow[Any, Any], input: Any) -> dict[str, Any]:
    """A run that Node starts and reads, of a flow that Node stores, and a Python worker works on."""
    with npm.running("start.mjs", dsn, flow.slug, input) as node:
        with psycopg.connect(dsn, autocommit=True) as conn:  # the flow is there before its worker
            await aeventually(lambda: node.poll() is not None or value(conn, "select count(*) from pgflow.runs"))
        async with Worker([flow], dsn=dsn, core=core, grace=1):
            found: dict[str, Any] = await asyncio.to_thread(npm.answer, node)
            return found


async def test_a_python_worker_serves_a_run_that_typescript_started(core_dsn: str, core: str) -> None:
    run = await run_from_node(core_dsn, core, orders, {"lines": LINES})
    assert run["output"] == {"invoice": {"total": 100, "deps": ["price", "stock"], "left": 90}}
    assert {slug: step["status"] for slug, step in run["steps"].items()} == dict.fromkeys(orders.steps, "completed")
    with psycopg.connect(core_dsn) as conn:
        attempts = conn.execute(
            "select step_slug, task_index, attempts_count from pgflow.step_tasks where attempts_count > 1 order by 1, 2"
        ).fetchall()
        left = conn.execute("select count(*) from pgmq.q_orders").fetchone()
    assert attempts == [("price", 1, 2), ("price", 3, 2)]
    assert left == (0,)


async def test_the_elements_of_a_root_map_are_those_of_the_input(core_dsn: str, core: str) -> None:
    run = await run_from_node(core_dsn, core, squares, list(range(20)))
    assert (run["status"], run["output"]) == ("completed", {"square": [n * n for n in range(20)]})


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("flood", "OSError: flooded, attempt 2"), ("closed", "Permanent: the warehouse is closed")],
)
async def test_what_fails_in_python_has_failed_in_typescript(
    core_dsn: str, core: str, trouble: str, error: str
) -> None:
    run = await run_from_node(core_dsn, core, orders, {"lines": LINES, trouble: True})
    assert run["status"] == "failed"
    assert run["steps"]["stock"] == {"step_slug": "stock", "status": "failed", "error_message": error}


async def test_typescripts_worker_works_on_our_core(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        await client.compile(orders)
        with npm.running("work.mjs", dsn, "orders"):
            run = await client.wait(await client.start(orders, {"lines": LINES}), timeout=50)
            failed = await client.wait(await client.start(orders, {"lines": []}), timeout=50)
    assert run.output == {"invoice": {"total": 100, "deps": ["price", "stock"], "left": 90}}
    assert failed.error == "stock: nothing was ordered"
    with psycopg.connect(dsn) as conn:
        attempts = "select max(attempts_count), count(distinct last_worker_id) from pgflow.step_tasks where run_id = %s"
        assert conn.execute(attempts, [run.run_id]).fetchone() == (1, 1)
        assert conn.execute(attempts, [failed.run_id]).fetchone() == (2, 1)
        assert conn.execute("select count(*) from pgmq.q_orders").fetchone() == (0,)
