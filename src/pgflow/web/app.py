"""The dashboard as an ASGI application: its routes, and errors as pages."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pgflow.client import AsyncClient
from pgflow.errors import (
    DatabaseUnreachable,
    FlowNotFound,
    InvalidInputError,
    PgflowError,
    RunNotFound,
)
from pgflow.web import actions, pages
from pgflow.web.guards import HEADERS, SameOrigin, Secured
from pgflow.web.rendering import render

_PAGES = [
    Route("/", pages.runs, name="runs"),
    Route("/runs/{run_id}", pages.run, name="run"),
    Route("/flows", pages.flows, name="flows"),
    Route("/flows/{slug}", pages.flow, name="flow"),
    Route("/health", pages.health, name="health"),
    Route("/style.css", pages.style, name="style"),
]
_ACTIONS = [
    Route("/runs/{run_id}/cancel", actions.cancel, name="cancel", methods=["POST"]),
    Route("/runs/{run_id}/retry", actions.retry, name="retry", methods=["POST"]),
    Route("/runs/{run_id}/steps/{step}/rerun", actions.rerun, name="rerun", methods=["POST"]),
    Route("/flows/{slug}/pause", actions.pause, name="pause", methods=["POST"]),
    Route("/flows/{slug}/resume", actions.resume, name="resume", methods=["POST"]),
]
#: Seconds after which the page that says that the database is away asks again.
_AWAY = 5


def dashboard(client: AsyncClient, *, read_only: bool = True) -> Starlette:
    """The dashboard as an ASGI application, to be mounted at any path, behind a login of yours: it has none.

        app.mount("/pgflow", dashboard(client))

    The client is yours to open and close. With `read_only=False` whoever gets at the pages may cancel, retry and
    rerun runs, pause and resume flows.
    """
    return application(client, read_only=read_only)


def application(client: AsyncClient, *, read_only: bool, guards: Sequence[Middleware] = ()) -> Starlette:
    """The dashboard, with further guards in front of it."""
    app = Starlette(
        routes=_PAGES if read_only else _PAGES + _ACTIONS,
        middleware=[Middleware(Secured), *guards, Middleware(SameOrigin)],
        exception_handlers={HTTPException: _refusal, PgflowError: _error, Exception: _fault},
    )
    app.state.client = client
    app.state.read_only = read_only
    return app


async def _refusal(request: Request, error: Exception) -> Response:
    """What Starlette refuses: an address that leads nowhere, a GET of a button's."""
    assert isinstance(error, HTTPException)  # noqa: S101  # as registered above
    text = "There is nothing at this address." if error.status_code == 404 else "This is not how to ask for it."
    return _page(request, error.status_code, text)


async def _error(request: Request, error: Exception) -> Response:
    """Our own errors are one line that says what to do."""
    match error:
        case FlowNotFound() | RunNotFound():
            status = 404
        case InvalidInputError():
            status = 400
        case DatabaseUnreachable():
            status = 503
        case _:
            status = 500
    return _page(request, status, str(error))


async def _fault(request: Request, error: Exception) -> Response:
    """The server logs its traceback. Nothing stands around this one: it needs its headers by itself."""
    response = _page(request, 500, f"An unexpected {type(error).__name__}: the server's log says where.")
    response.headers.update(HEADERS)
    return response


def _page(request: Request, status: int, text: str) -> Response:
    refresh = _AWAY if status == 503 and request.method == "GET" else None
    return render(
        request, "message.html", status=status, refresh=refresh, title=HTTPStatus(status).phrase, text=text
    )  # fmt: skip
