"""`pgflow doctor`: what is wrong, and what to do about each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from pgflow.cli import terminal
from pgflow.health import HEALTHY, Checked, examine


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Look for what is wrong with the database, its workers and queues, and say what to do about each finding.

    Exits with 0 when nothing is, with 1 when something is, with 2 when a setting is wrong, with 3 when the database
    cannot be reached.
    """
    checked, code = examine(context.obj["dsn"])
    if as_json:
        terminal.print_json({"ok": code == HEALTHY, "checks": [asdict(each) for each in checked]})
    else:
        _print(checked)
    return code


def _print(checked: list[Checked]) -> None:
    out = terminal.console()
    for each in checked:
        if not each.findings:
            out.print(Text.assemble(("ok  ", "green"), f"{each.check}: {each.detail}"), soft_wrap=True)
        for finding in each.findings:
            out.print(Text.assemble(("!!  ", "bold red"), f"{each.check}: {finding.what}"), soft_wrap=True)
            out.print(Text(f"    → {finding.do}"), soft_wrap=True)
