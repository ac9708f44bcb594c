"""What each page shows."""

from __future__ import annotations

import os
import re
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from pgflow import AsyncClient, Run, Worker
from pgflow.testing import draining
from pgflow.web import pages, rendering
from tests.support import aeventually, rows
from tests.web.conftest import SCRIPT, orders


def text_of(page: httpx.Response) -> str:
    """What is read, without the markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.text).split())


async def test_runs_are_listed_newest_first_with_status_and_flow(http: httpx.AsyncClient, client: AsyncClient) -> None:
    first = await client.start(orders, {})
    second = await client.start(orders, {})
    await client.cancel(second)
    page = await http.get("/")
    assert page.status_code == 200
    assert page.text.index(str(second.run_id)) < page.text.index(str(first.run_id))
    assert f"{second.run_id} orders cancelled" in text_of(page)
    assert f"{first.run_id} orders started" in text_of(page)


async def test_runs_are_filtered_by_flow_and_status(http: httpx.AsyncClient, client: AsyncClient) -> None:
    kept, other = await client.start(orders, {}), await client.start(orders, {})
    await client.cancel(other)
    page = await http.get("/", params={"flow": "orders", "status": "started"})
    assert str(kept.run_id) in page.text
    assert str(other.run_id) not in page.text
    assert 'value="orders"' in page.text
    assert "<option selected>started</option>" in page.text
    assert "No such runs." in (await http.get("/?status=failed")).text
    assert str(other.run_id) in (await http.get("/?flow=&status=")).text  # as an empty form is sent


@pytest.mark.parametrize("address", ["/", "/flows/orders"])
async def test_lists_of_runs_do_not_read_their_values(
    http: httpx.AsyncClient, client: AsyncClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    run = await client.start(orders, {"large": True})
    listed, listing = [], client.list_runs

    async def listing_noted(*given: Any, **options: Any) -> list[Run]:
        listed.extend(await listing(*given, **options))
        return listed

    monkeypatch.setattr(client, "list_runs", listing_noted)
    assert str(run.run_id) in (await http.get(address)).text
    assert [one.input for one in listed] == [None]


async def test_a_database_without_runs(http: httpx.AsyncClient) -> None:
    assert "No runs yet." in (await http.get("/")).text


async def test_older_runs_are_on_further_pages(
    http: httpx.AsyncClient, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PER_PAGE", 2)
    started = await client.start_many(orders, [{}] * 5)  # which share their start time
    address, seen = "/?flow=orders", []
    while address:
        page = await http.get(address)
        assert page.status_code == 200
        seen += re.findall(r'class="id" href="/runs/([^"]+)"', page.text)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        address = older[1].replace("&amp;", "&") if older else ""
    assert sorted(seen) == sorted(str(run.run_id) for run in started)
    assert 'href="/?flow=orders">Newest</a>' in page.text


async def test_a_run_that_goes_on_is_shown_anew_without_its_values(
    http: httpx.AsyncClient, client: AsyncClient
) -> None:
    run = await client.start(orders, {"customer": "Ada"}, key="order-1")
    page = await http.get(f"/runs/{run.run_id}")
    assert page.headers["refresh"] == "2"
    assert "Ada" not in page.text
    for part in ("started", "Has taken", "order-1", "load started 0/1", "price created"):
        assert part in text_of(page)
    still = await http.get(f"/runs/{run.run_id}?values=yes")
    assert "refresh" not in still.headers
    assert "Ada" in still.text


async def test_a_completed_run_shows_its_steps_input_and_output(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {"customer": "Ada"})
    draining.work_off(client.dsn, orders)
    page = await http.get(f"/runs/{run.run_id}")
    assert "refresh" not in page.headers
    assert page.text.count("<rect ") == 3
    assert page.text.count("<path ") == 3
    assert page.text.count('<g class="completed">') == 3
    text = text_of(page)
    for part in ("ship completed 1/1", "Input { &#34;customer&#34;: &#34;Ada&#34; }", "Output { &#34;ship&#34;:"):
        assert part in text


async def test_a_failed_run_shows_what_failed_and_escapes_it(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {"fail": SCRIPT}, key=SCRIPT)
    draining.work_off(client.dsn, orders)
    page = await http.get(f"/runs/{run.run_id}")
    assert "<script" not in page.text
    escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"
    assert f"Step price, task 0, attempt 1: ValueError: no price {escaped}" in text_of(page)
    assert f"price failed 0/1 1 {took(page)} ValueError: no price {escaped}" in text_of(page)
    assert f"&#34;fail&#34;: &#34;{escaped}&#34;" in page.text  # the input
    assert f"<dd>{escaped}</dd>" in page.text  # the key
    assert "ship cancelled" in text_of(page)


def took(page: httpx.Response) -> str:
    found = re.search(r"price failed 0/1 1 ([\d.]+ s)", text_of(page))
    assert found is not None
    return found[1]


async def test_a_reason_and_an_output_are_escaped(http: httpx.AsyncClient, client: AsyncClient) -> None:
    cancelled = await client.start(orders, {})
    await client.cancel(cancelled, reason=SCRIPT)
    completed = await client.start(orders, {"text": SCRIPT})
    draining.work_off(client.dsn, orders)
    for run in (cancelled, completed):
        page = await http.get(f"/runs/{run.run_id}")
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text


async def test_a_step_that_is_tried_again_says_so(
    http: httpx.AsyncClient, client: AsyncClient, conn: psycopg.Connection
) -> None:
    run = await client.start(orders, {})
    conn.execute("update pgflow.step_tasks set attempts_count = 2, error_message = %s", [f"no answer {SCRIPT}"])
    page = await http.get(f"/runs/{run.run_id}")
    assert "<script" not in page.text
    assert "1 task tried again: no answer &lt;script&gt;" in text_of(page)


async def test_a_long_value_is_cut_and_its_length_said(
    http: httpx.AsyncClient, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "_LONGEST_VALUE", 100)
    run = await client.start(orders, {"text": "x" * 5000})
    page = await http.get(f"/runs/{run.run_id}?values=yes")
    assert page.text.count("x" * 80) == 1
    assert "x" * 100 not in page.text
    assert "the whole has 5,012 characters" in page.text


async def test_a_rerun_leads_to_the_run_before(http: httpx.AsyncClient, client: AsyncClient) -> None:
    run = await client.start(orders, {})
    again = await client.rerun(run, "load")
    assert f'href="/runs/{run.run_id}"' in (await http.get(f"/runs/{again.run_id}")).text


async def test_flows_are_listed_with_what_goes_on_in_them(http: httpx.AsyncClient, client: AsyncClient) -> None:
    assert "orders 3 0 0 0 active Pause" in text_of(await http.get("/flows"))
    await client.start(orders, {})
    await client.pause(orders)
    assert "orders 3 1 0 1 paused Resume" in text_of(await http.get("/flows"))


async def test_large_numbers_are_grouped(http: httpx.AsyncClient, client: AsyncClient) -> None:
    await client.flows.create_flow("wide")
    await client.flows.add_step("wide", "each", step_type="map", initial_tasks=1234)
    run = await client.start("wide", {})
    assert "wide 1 1 0 1,234 active" in text_of(await http.get("/flows"))
    assert '<td class="number">0/1,234</td>' in (await http.get(f"/runs/{run.run_id}")).text


async def test_a_flow_shows_its_shape_its_options_and_its_latest_runs(
    http: httpx.AsyncClient, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.flows.create_flow("tiny", timeout=7)
    await client.flows.add_step("tiny", "fetch", max_attempts=9, run_if={"text": SCRIPT})
    await client.flows.add_step("tiny", "each", step_type="map", depends_on=["fetch"])
    await client.flows.add_step("tiny", "many", step_type="map", initial_tasks=1234, timeout=8)
    await client.flows.add_step("tiny", "last", depends_on=["many"])
    page = await http.get("/flows/tiny")
    text = text_of(page)
    assert "<script" not in page.text
    for part in (
        "timeout 7",
        "fetch single, conditional max_attempts 9, run_if {",
        "each map fetch",
        "many map of 1,234 timeout 8",
        "last single many",
        "No runs yet.",
    ):
        assert part in text
    monkeypatch.setattr(pages, "_LATEST", 1)
    old, new = await client.start("tiny", {}), await client.start("tiny", {})
    page = await http.get("/flows/tiny")
    assert str(new.run_id) in page.text
    assert str(old.run_id) not in page.text


async def test_health_shows_what_the_doctor_finds_and_no_address(
    http: httpx.AsyncClient, client: AsyncClient, conn: psycopg.Connection
) -> None:
    page = await http.get("/health")
    assert page.status_code == 200
    assert "wrong" not in text_of(page)
    assert conn.info.dbname not in page.text
    await client.start(orders, {})
    text = text_of(await http.get("/health"))
    assert "workers wrong no live worker serves flow orders, which has 1 run under way → start one" in text
    assert "Live workers None." in text


async def test_health_shows_the_workers_that_live(
    http: httpx.AsyncClient, client: AsyncClient, conn: psycopg.Connection
) -> None:
    async with Worker([orders], dsn=client.dsn):
        await aeventually(lambda: rows(conn, "select from pgflow.workers"))
        conn.execute(
            "insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at)"
            " values (gen_random_uuid(), 'gone', 'gone', now() - interval '1 min'),"
            " (gen_random_uuid(), 'one,other', %s, now())",
            [SCRIPT],
        )
        page = await http.get("/health")
    text = text_of(page)
    assert f":{os.getpid()} orders " in text
    assert "&lt;/script&gt; one, other " in text
    assert "gone" not in text
    assert "<script" not in page.text


async def test_wrong_addresses_have_pages(http: httpx.AsyncClient) -> None:
    for address, status, words in (
        (f"/runs/{uuid4()}", 404, "no run "),
        ("/runs/nonsense", 400, "&#39;nonsense&#39; is no run id"),
        (f"/runs/{SCRIPT.replace('/', '%2F')}", 404, "nothing at this address"),  # no slash within a path's part
        ("/runs/%3Cscript%3E", 400, "&lt;script&gt;"),
        ("/flows/nowhere", 404, "flow &#39;nowhere&#39; is not in the database"),
        ("/flows/a%00b", 400, "NUL"),
        ("/?flow=nowhere", 404, "flow &#39;nowhere&#39; is not in the database"),
        ("/?status=bad", 400, "status must be one of"),
        ("/?before=never", 400, "&#39;never&#39; is no place among the runs"),
        ("/nowhere", 404, "nothing at this address"),
    ):
        page = await http.get(address)
        assert (address, page.status_code) == (address, status)
        assert page.headers["content-type"].startswith("text/html")
        assert words in page.text
        assert "<script" not in page.text
        assert 'href="/flows"' in page.text  # one gets away


async def test_no_page_asks_more_than_twice(
    http: httpx.AsyncClient, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await client.start(orders, {})
    await client.cancel(run)
    database = type(client._database)
    asked: list[str] = []
    original = database.run

    async def counted(self: object, call: object) -> object:
        asked.append(call.sql)  # type: ignore[attr-defined]
        return await original(self, call)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "run", counted)
    for address, most in (("/", 1), ("/flows", 1), ("/flows/orders", 2), (f"/runs/{run.run_id}", 2)):
        asked.clear()
        assert (await http.get(address)).status_code == 200
        assert 1 <= len(asked) <= most
