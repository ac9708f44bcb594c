"""pgflow's own core, its flows and clients in Node on one side; a Python worker on the other."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgflow import Flow, Worker
from tests.foreign import npm
from tests.foreign.flows import orders, squares
from tests.support import aeventually, value

pytestmark = pytest.mark.slow

LINES = [{"amount": n, "price": 10} for n in (1, 2, 3, 4)]


async def run_from_node(dsn: str, flow: Flow[Any, Any], input: Any) -> dict[str, Any]:
    """A run that Node starts and reads, and a Python worker works on."""
    with npm.running("start.mjs", dsn, flow.slug, input) as node:
        with psycopg.connect(dsn, autocommit=True) as conn:  # the flow is there before its worker
            await aeventually(lambda: node.poll() is not None or value(conn, "select count(*) from pgflow.runs"))
        async with Worker([flow], dsn=dsn, core="foreign", grace=1):
            found: dict[str, Any] = await asyncio.to_thread(npm.answer, node)
            return found


async def test_a_python_worker_serves_a_run_that_typescript_started(pgflow_dsn: str) -> None:
    run = await run_from_node(pgflow_dsn, orders, {"lines": LINES})
    assert run["output"] == {"invoice": {"total": 100, "deps": ["price", "stock"], "left": 90}}
    assert {slug: step["status"] for slug, step in run["steps"].items()} == dict.fromkeys(orders.steps, "completed")
    with psycopg.connect(pgflow_dsn) as conn:
        attempts = conn.execute(
            "select step_slug, task_index, attempts_count from pgflow.step_tasks where attempts_count > 1 order by 1, 2"
        ).fetchall()
        left = conn.execute("select count(*) from pgmq.q_orders").fetchone()
    assert attempts == [("price", 1, 2), ("price", 3, 2)]
    assert left == (0,)


async def test_the_elements_of_a_root_map_are_those_of_the_input(pgflow_dsn: str) -> None:
    run = await run_from_node(pgflow_dsn, squares, list(range(20)))
    assert (run["status"], run["output"]) == ("completed", {"square": [n * n for n in range(20)]})


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("flood", "OSError: flooded, attempt 2"), ("closed", "Permanent: the warehouse is closed")],
)
async def test_what_fails_in_python_has_failed_in_typescript(pgflow_dsn: str, trouble: str, error: str) -> None:
    run = await run_from_node(pgflow_dsn, orders, {"lines": LINES, trouble: True})
    assert run["status"] == "failed"
    assert run["steps"]["stock"] == {"step_slug": "stock", "status": "failed", "error_message": error}
