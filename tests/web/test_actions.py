"""What each button does, and what the page after it says."""

from __future__ import annotations

from uuid import uuid4

import httpx

from pgflow import AsyncClient
from pgflow.testing import draining
from pgflow.web import dashboard
from tests.web.conftest import SCRIPT, browser, orders


async def press(http: httpx.AsyncClient, address: str) -> tuple[str, str]:
    """Where a button leads, and what is said there."""
    answer = await http.post(address)
    assert answer.status_code == 303
    page = await http.get(answer.headers["location"])
    said = page.text.partition('role="status">')[2].partition("</p>")[0]
    again = await http.get(answer.headers["location"])
    assert 'role="status"' not in again.text  # it is said once
    return answer.headers["location"], said


async def test_cancel_retry_and_their_refusals(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {"fail": SCRIPT})
    there = f"/runs/{run.run_id}"
    assert f'action="{there}/cancel"' in (await http.get(there)).text
    assert await press(http, f"{there}/cancel") == (there, "Cancelled.")
    assert (await client.get_run(run)).status == "cancelled"
    assert f'action="{there}/retry"' in (await http.get(there)).text
    assert await press(http, f"{there}/retry") == (there, "It goes on.")
    assert (await client.get_run(run)).status == "started"
    draining.work_off(client.dsn, orders)
    _, said = await press(http, f"{there}/cancel")
    assert "failed" in said  # and why that cannot be cancelled
    assert (await client.get_run(run)).status == "failed"


async def test_a_run_is_run_again_from_a_step(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {})
    draining.work_off(client.dsn, orders)
    page = await http.get(f"/runs/{run.run_id}")
    assert f'action="/runs/{run.run_id}/steps/price/rerun"' in page.text
    assert "/retry" not in page.text
    assert "/cancel" not in page.text
    there, said = await press(http, f"/runs/{run.run_id}/steps/price/rerun")
    assert said == "This run was started, from price on."
    again = await client.get_run(there.removeprefix("/runs/"))
    assert again.parent_run_id == run.run_id


async def test_a_refusal_is_said_in_words_and_escaped(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {})
    there, said = await press(http, f"/runs/{run.run_id}/steps/%3Cscript%3E/rerun")
    assert there == f"/runs/{run.run_id}"
    assert "&lt;script&gt;" in said
    assert "<script" not in said


async def test_a_flow_is_paused_and_resumed(http: httpx.AsyncClient, client: AsyncClient) -> None:
    assert await press(http, "/flows/orders/pause") == ("/flows", "Paused orders.")
    assert (await client.flows.list())[0].is_paused
    assert await press(http, "/flows/orders/resume") == ("/flows", "Resumed orders.")
    assert not (await client.flows.list())[0].is_paused


async def test_what_is_not_there_has_a_page(http: httpx.AsyncClient) -> None:
    for address in (f"/runs/{uuid4()}/cancel", f"/runs/{uuid4()}/steps/load/rerun", "/flows/nowhere/pause"):
        page = await http.post(address)
        assert (address, page.status_code) == (address, 404)
        assert page.headers["content-type"].startswith("text/html")


async def test_a_get_changes_nothing(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {})
    assert (await http.get(f"/runs/{run.run_id}/cancel")).status_code == 405
    assert (await client.get_run(run)).status == "started"


async def test_who_may_only_read_has_no_buttons_and_no_actions(client: AsyncClient) -> None:
    run = await client.start(orders, {})
    async with browser(dashboard(client)) as http:
        for address in (f"/runs/{run.run_id}", "/flows"):
            page = await http.get(address)
            assert "read only" in page.text
            assert 'method="post"' not in page.text
        for address in (f"/runs/{run.run_id}/cancel", "/flows/orders/pause"):
            assert (await http.post(address)).status_code == 404
    assert (await client.get_run(run)).status == "started"
    assert not (await client.flows.list())[0].is_paused
