"""Whom a request asks, and where our pages are, wherever we are mounted."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request

from pgflow.client import AsyncClient


def client_of(request: Request) -> AsyncClient:
    """The client that answers."""
    client: AsyncClient = request.app.state.client
    return client


def path(request: Request, name: str, **parameters: str) -> str:
    """The path of a page of ours (Starlette's `url_for` would ask the application around us)."""
    ours = request.app.router.url_path_for(name, **parameters)
    return quote(request.scope.get("root_path", "").rstrip("/") + ours)


def root(request: Request) -> str:
    """The path that all our pages begin with."""
    return request.scope.get("root_path", "") or "/"
