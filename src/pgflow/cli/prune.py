"""`pgflow prune`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pgflow import showing
from pgflow.cli import terminal
from pgflow.cli.arguments import Age, DryRun, read_age
from pgflow.client import Client


def prune(
    context: typer.Context,
    older_than: Age,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete what ended long ago: runs with their steps and tasks, archived messages, workers not heard of since.

    Runs that have not ended stay, however old.
    """
    age = read_age(older_than)
    with Client(context.obj["dsn"]) as client:
        pruned = client.prune(age, dry_run=dry_run)
    if as_json:
        terminal.print_json({"dry_run": dry_run, **asdict(pruned)})
        return
    amounts = [
        f"{showing.many(pruned.runs, 'run')} with {showing.many(pruned.tasks, 'task')}",
        showing.many(pruned.archived_messages, "archived message"),
        showing.many(pruned.workers, "worker"),
    ]
    typer.echo(f"{'would delete' if dry_run else 'deleted'} {', '.join(amounts)}")
