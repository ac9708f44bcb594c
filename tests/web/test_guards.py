"""Who gets what: headers, requests from elsewhere, a password, a name that leads here, a database that is away."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import httpx
import pytest
from fastapi import FastAPI
from psycopg.conninfo import make_conninfo
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from pgflow import AsyncClient
from pgflow.web import dashboard
from pgflow.web.app import application
from pgflow.web.guards import Password
from tests.faults.proxy import Proxy
from tests.schema.test_roles import logins_of
from tests.web.conftest import browser, orders


async def test_every_response_is_secured(http: httpx.AsyncClient) -> None:
    for address in ("/", "/flows", "/health", "/nowhere", "/runs/nonsense", "/style.css"):
        headers = (await http.get(address)).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("max-age=86400" if address == "/style.css" else "no-store")


async def test_pages_load_nothing_but_the_stylesheet_and_have_no_inline_style(
    http: httpx.AsyncClient, client: AsyncClient
) -> None:
    run = await client.start(orders, {})
    for address in ("/", f"/runs/{run.run_id}", "/flows", "/flows/orders", "/health"):
        page = (await http.get(address)).text
        assert "<script" not in page
        assert "style=" not in page
        assert "<style" not in page
        assert "http" not in page.replace("http-equiv", "")
        assert page.count("<link ") == 1
    style = await http.get("/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text


async def test_an_error_of_ours_is_a_page_too_and_secured(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("<b>secret</b>")

    monkeypatch.setattr(client, "list_runs", broken)
    transport = httpx.ASGITransport(dashboard(client), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://dashboard") as http:
        page = await http.get("/")
    assert page.status_code == 500
    assert "An unexpected ZeroDivisionError" in page.text
    assert "secret" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


async def test_only_pages_of_ours_change_anything(client: AsyncClient) -> None:
    app = dashboard(client, read_only=False)
    for headers, status in (
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://dashboard"}, 403),
        ({"Origin": "http://dashboard"}, 303),
        ({"Origin": "http://dashboard.evil.example"}, 403),
        ({"Origin": "http://dashboard:81"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ):
        async with plain_browser(app, headers) as http:
            answer = await http.post("/flows/orders/pause")
            assert (headers, answer.status_code) == (headers, status)
            assert "content-security-policy" in answer.headers
            assert (await http.get("/")).status_code == 200  # links from anywhere lead here
        assert (await client.flows.list())[0].is_paused == (status == 303)
        await client.resume(orders)


def plain_browser(app: ASGIApp, headers: Mapping[str, str | bytes]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dashboard", headers=dict(headers))


async def test_a_password_is_asked_for(client: AsyncClient) -> None:
    app = application(client, read_only=True, guards=[Middleware(Password, password="pässword:1")])
    for authorization, status in (
        (basic("me:pässword:1"), 200),
        (basic(":pässword:1"), 200),
        (basic("me:password"), 401),
        (basic("pässword:1"), 401),
        (b"Basic ???", 401),
        (b"Basic \xff", 401),
        (b"Bearer " + basic("me:pässword:1").split()[1], 401),
        (b"", 401),
    ):
        async with plain_browser(app, {"Authorization": authorization}) as http:
            for address in ("/", "/style.css"):
                answer = await http.get(address)
                assert (authorization, answer.status_code) == (authorization, status)
                assert ("www-authenticate" in answer.headers) == (status == 401)
                assert "content-security-policy" in answer.headers


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


async def test_it_works_under_a_mount_path(client: AsyncClient) -> None:
    around = FastAPI()
    around.mount("/internal/pgflow", dashboard(client, read_only=False))
    run = await client.start(orders, {})
    async with browser(around) as http:
        page = await http.get("/internal/pgflow/")
        links = {link.split("?")[0] for link in _links(page.text)}
        assert all(link.startswith("/internal/pgflow/") for link in links)
        assert f"/internal/pgflow/runs/{run.run_id}" in links
        assert "/internal/pgflow/style.css" in links
        for link in links:
            assert (await http.get(link)).status_code == 200
        answer = await http.post("/internal/pgflow/flows/orders/pause")
        assert answer.headers["location"] == "/internal/pgflow/flows"
        assert "Path=/internal/pgflow;" in answer.headers["set-cookie"] + ";"
        assert "Paused orders." in (await http.get("/internal/pgflow/flows")).text
        assert (await http.get("/internal/pgflow/nowhere")).status_code == 404


def _links(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('href="')[1:]]


async def test_a_database_that_is_away_is_said_and_waited_for(dsn: str) -> None:
    async with Proxy(dsn) as network, AsyncClient(make_conninfo(network.dsn, connect_timeout=2)) as client:
        await client.compile(orders)
        async with browser(dashboard(client, read_only=False)) as http:
            assert (await http.get("/flows")).status_code == 200
            network.refuse()
            for address in ("/", "/flows", "/flows/orders", "/health"):
                page = await http.get(address)
                assert page.status_code == 503
                assert page.headers["refresh"] == "5"
                assert "cannot reach database" in page.text
            pressed = await http.post("/flows/orders/pause")
            assert pressed.status_code == 503
            assert "refresh" not in pressed.headers  # it would be sent once more
            await network.heal()
            assert (await http.get("/flows")).status_code == 200


async def test_the_role_of_clients_is_all_it_needs(dsn: str) -> None:
    with logins_of(dsn) as logins:
        async with AsyncClient(logins.owner) as owner:
            await owner.compile(orders)
        async with AsyncClient(logins.client) as client, browser(dashboard(client, read_only=False)) as http:
            run = await client.start(orders, {})
            for address in ("/", f"/runs/{run.run_id}", "/flows", "/flows/orders", "/health"):
                assert (await http.get(address)).status_code == 200
            for address in (f"/runs/{run.run_id}/cancel", f"/runs/{run.run_id}/retry", "/flows/orders/pause"):
                assert (await http.post(address)).status_code == 303
            assert (await client.flows.list())[0].is_paused
