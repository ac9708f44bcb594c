"""`pgflow prune`."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from pgflow.cli import terminal
from pgflow.client import Client
from pgflow.errors import InvalidInputError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def prune(
    context: typer.Context,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="How old at least: 30d, 12h, 90m, 2w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete what ended long ago: runs with their steps and tasks, archived messages, workers not heard of since.

    Runs that have not ended stay, however old.
    """
    age = _age(older_than)
    with Client(context.obj["dsn"]) as client:
        pruned = client.prune(age, dry_run=dry_run)
    if as_json:
        terminal.print_json({"dry_run": dry_run, **asdict(pruned)})
        return
    amounts = [
        f"{terminal.many(pruned.runs, 'run')} with {terminal.many(pruned.tasks, 'task')}",
        terminal.many(pruned.archived_messages, "archived message"),
        terminal.many(pruned.workers, "worker"),
    ]
    typer.echo(f"{'would delete' if dry_run else 'deleted'} {', '.join(amounts)}")


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if found is None:
        raise InvalidInputError(f"{text!r} is no age: expected a number and a unit (s, m, h, d, w), as in 30d or 12h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
