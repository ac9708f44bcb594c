"""The client in both its forms, called the same way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from pgflow import AsyncClient, Client

Ask: TypeAlias = Callable[..., Awaitable[Any]]


def opener(kind: str) -> Callable[[str], Awaitable[Any]]:
    """How to get an open client of this kind."""

    async def open_client(dsn: str) -> AsyncClient | Client:
        client = AsyncClient(dsn) if kind == "async" else Client(dsn)
        await ask_of(client)("open")
        return client

    return open_client


def ask_of(client: AsyncClient | Client) -> Ask:
    """`await ask("start", flow, input)` calls the method, in a thread where it blocks."""

    async def ask(method: str, *args: Any, **options: Any) -> Any:
        if isinstance(client, AsyncClient):
            return await getattr(client, method)(*args, **options)
        return await asyncio.to_thread(getattr(client, method), *args, **options)

    ask.client = client  # type: ignore[attr-defined]
    return ask


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def ask(kind: str, dsn: str) -> AsyncIterator[Ask]:
    """An open client, asynchronous and blocking in turn."""
    client = await opener(kind)(dsn)
    yield ask_of(client)
    await ask_of(client)("close")
