"""`pgflow dashboard`."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Annotated

import typer

from pgflow.config import SettingsError


def dashboard(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine's own need a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes one that is free.")] = 8080,
    read_only: Annotated[bool, typer.Option("--read-only", help="Only show: no buttons.")] = False,
) -> None:
    """Show runs, flows and health in a browser until Ctrl-C; cancel, retry and rerun runs, pause and resume flows.

    Asks for a password, with any user name, where PGFLOW_DASHBOARD_PASSWORD is set.
    """
    try:
        from pgflow.web.serving import serve  # an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            "the dashboard needs jinja2, starlette and uvicorn: run `pip install 'py-pgflow[dashboard]'`"
        ) from error
    password = os.environ.get("PGFLOW_DASHBOARD_PASSWORD")
    if not context.obj["verbose"]:
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # the pages say that the database is away
    asyncio.run(serve(context.obj["dsn"], host, port, read_only=read_only, password=password, say=_say))


def _say(url: str) -> None:
    print(f"the dashboard is at {url} (Ctrl-C ends it)", flush=True)  # noqa: T201
