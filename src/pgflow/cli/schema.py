"""`pgflow migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgflow import schema
from pgflow.config import load, mask_password
from pgflow.db import Database


def migrate(
    context: typer.Context,
    sql: Annotated[bool, typer.Option("--sql", help="Print what would be run, and change nothing.")] = False,
    roles: Annotated[
        bool, typer.Option("--roles", help="Also make pgflow's roles: owner, worker, client and reader.")
    ] = False,
) -> None:
    """Install or upgrade the pgflow schema (and pgmq, where it is missing); safe to repeat.

    With --sql the text is for psql: of what this database lacks, or, where no database is named, of everything.
    """
    settings = load(dsn=context.obj["dsn"])
    if sql:
        typer.echo(schema.script(settings.dsn, roles=roles), nl=False)
        return
    with Database(settings) as database:
        applied = schema.migrate(database.dsn, roles=roles)
        where = f"the pgflow schema in {mask_password(settings.dsn)}" if settings.dsn else "the embedded database"
        typer.echo(f"{where} is up to date" + (f" now: {len(applied)} scripts applied" if applied else ""))
