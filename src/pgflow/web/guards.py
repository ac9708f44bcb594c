"""What stands in front of the pages: headers, where a POST comes from, a password."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: On every response: nothing is loaded, framed, sent elsewhere or stored, whatever a run's texts should bring about.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Secured:
    """Puts the headers on every response, unless it says something else itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, secured)


class SameOrigin:
    """Refuses what would change something and comes from another site's page, or does not say where from."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and not _is_ours(Headers(scope=scope)):
            refusal = PlainTextResponse("refused: this was not sent by a page of the dashboard\n", 403)
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_ours(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")  # browsers older than 2023, and those that get the page without TLS
    return origin is not None and origin.partition("://")[2] == headers.get("host")


class Password:
    """HTTP basic authentication, whoever it is that knows the password."""

    def __init__(self, app: ASGIApp, password: str) -> None:
        self.app = app
        self._password = password.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_known(Headers(scope=scope).get("authorization", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="pgflow", charset="UTF-8"'}
            await PlainTextResponse("a password is needed\n", 401, challenge)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_known(self, authorization: str) -> bool:
        scheme, _, credentials = authorization.partition(" ")
        try:
            given = base64.b64decode(credentials).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and secrets.compare_digest(given, self._password)
