"""Pages from templates, and what an action has to say on the page after it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import pgflow
from pgflow import showing
from pgflow.web.addresses import path, root

_SAID = "pgflow_said"
#: Characters of a message: in a cookie each may take nine bytes, of 4,096.
_LONGEST_SAID = 300
#: Characters of a value that a page shows.
_LONGEST_VALUE = 10_000

_templates = Environment(
    loader=PackageLoader("pgflow.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


class Shown(NamedTuple):
    """A value as JSON, or its beginning; `length` is that of the whole."""

    text: str
    length: int
    is_cut: bool


def shown(value: Any) -> Shown:
    """A value for people; what is too long to be read is cut, and not indented first."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST_VALUE:
        return Shown(text[:_LONGEST_VALUE], len(text), is_cut=True)
    return Shown(json.dumps(value, ensure_ascii=False, indent=2), len(text), is_cut=False)


_templates.filters["grouped"] = "{:,}".format  # a number, with its digits in groups of three
_templates.globals |= {
    "many": showing.many,
    "moment": showing.moment,
    "run_time": showing.run_time,
    "shortened": showing.shortened,
    "shown": shown,
    "shown_status": showing.shown_status,
    "step_time": showing.step_time,
    "version": pgflow.__version__,
}


def render(
    request: Request, template: str, *, status: int = 200, refresh: int | None = None, **context: Any
) -> Response:
    """The page; with `refresh` it is asked for again after so many seconds."""
    said = unquote(request.cookies.get(_SAID, ""))
    text = _templates.get_template(template).render(
        path=lambda name, **parameters: path(request, name, **parameters),
        read_only=request.app.state.read_only,
        said=said,
        refresh=refresh,
        **context,
    )
    response = HTMLResponse(text, status)
    if refresh is not None:
        response.headers["Refresh"] = str(refresh)
    if said:
        response.delete_cookie(_SAID, path=root(request))
    return response


def redirect(request: Request, to: str, said: str) -> Response:
    """Leads to a page that then says this, once."""
    response = RedirectResponse(to, 303)
    value = quote(showing.shortened(said, _LONGEST_SAID), safe="")
    response.set_cookie(_SAID, value, max_age=60, path=root(request), httponly=True, samesite="strict")
    return response
