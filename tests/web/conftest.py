"""The dashboard asked as a browser asks, within the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from pgflow import AsyncClient, Flow
from pgflow.web import dashboard

#: What must never stand in a page as it is.
SCRIPT = "<script>alert('x')</script>"

orders: Flow[Any, Any] = Flow("orders", max_attempts=1)


@orders.step
def load(flow_input: Any) -> Any:
    return flow_input


@orders.step
def price(load: dict[str, Any]) -> Any:
    if load.get("fail"):
        raise ValueError(f"no price {load['fail']}")
    return load


@orders.step
def ship(price: Any, load: Any) -> Any:
    return price


def browser(app: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """What asks this application; its requests are those of the application's own pages."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://dashboard",
        headers={"Sec-Fetch-Site": "same-origin", **headers},
    )


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(dsn) as opened:
        await opened.compile(orders)
        yield opened


@pytest.fixture
async def http(client: AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a dashboard that has buttons."""
    async with browser(dashboard(client, read_only=False)) as opened:
        yield opened
