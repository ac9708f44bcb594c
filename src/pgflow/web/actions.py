"""What may be done, a function per button: a call of the client's, then back to a page that says what came of it."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import Response

from pgflow.errors import InvalidInputError, RunStateError
from pgflow.web.addresses import client_of, path
from pgflow.web.rendering import redirect

#: What the page says that one comes from; what is not there, or a database that is away, has a page of its own.
_REFUSALS = (InvalidInputError, RunStateError)


async def cancel(request: Request) -> Response:
    run_id = request.path_params["run_id"]
    return await _done(request, client_of(request).cancel(run_id), "Cancelled.", path(request, "run", run_id=run_id))


async def retry(request: Request) -> Response:
    run_id = request.path_params["run_id"]
    return await _done(request, client_of(request).retry(run_id), "It goes on.", path(request, "run", run_id=run_id))


async def rerun(request: Request) -> Response:
    """Leads to the new run."""
    run_id, step = request.path_params["run_id"], request.path_params["step"]
    try:
        new = await client_of(request).rerun(run_id, step)
    except _REFUSALS as error:
        return redirect(request, path(request, "run", run_id=run_id), str(error))
    said = f"This run was started, from {step} on."
    return redirect(request, path(request, "run", run_id=str(new.run_id)), said)


async def pause(request: Request) -> Response:
    slug = request.path_params["slug"]
    return await _done(request, client_of(request).pause(slug), f"Paused {slug}.", path(request, "flows"))


async def resume(request: Request) -> Response:
    slug = request.path_params["slug"]
    return await _done(request, client_of(request).resume(slug), f"Resumed {slug}.", path(request, "flows"))


async def _done(request: Request, doing: Awaitable[object], said: str, to: str) -> Response:
    """Says what was done, or why not."""
    try:
        await doing
    except _REFUSALS as error:
        said = str(error)
    return redirect(request, to, said)
