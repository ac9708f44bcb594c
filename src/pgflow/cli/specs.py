"""`pgflow validate`, `compile`: flows as data, and flows of code, on their way to the database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pgflow.cli import terminal
from pgflow.cli.arguments import read_input
from pgflow.cli.flows import find_flows
from pgflow.client import Client
from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow import Flow, FlowSpec
from pgflow.flow.estimate import UNKNOWN, task_counts
from pgflow.showing import many

_SUFFIXES = (".json", ".yaml", ".yml")

_FAULTY = 2


def validate(
    spec: Annotated[str, typer.Argument(metavar="SPEC|-", help="A JSON or YAML file, or standard input.")],
    input: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="A run's input, to count tasks by.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check a flow that is data: every error with its path; else how many tasks a run would have. Needs no database."""
    slug = "?"
    try:
        flow = read_spec(spec)
        slug = flow.slug
        counts = task_counts(flow, UNKNOWN if input is None else read_input(input))
    except FlowDefinitionError as error:
        if as_json:
            terminal.print_json({"flow": error.flow_slug, "errors": error.faults})
        else:
            sys.stderr.write("".join(f"{spec}: {fault}\n" for fault in error.faults))
        return _FAULTY
    except InvalidInputError as error:
        if not as_json:
            raise
        terminal.print_json({"flow": slug, "errors": [str(error)]})
        return _FAULTY
    if as_json:
        terminal.print_json({"flow": flow.slug, "errors": [], "tasks": counts})
    else:
        _print_counts(flow, counts)
    return 0


def compile(
    context: typer.Context,
    flow: Annotated[
        str, typer.Argument(metavar="FLOW|SPEC|-", help="MODULE[:FLOW], or a JSON or YAML file, or standard input.")
    ],
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements, and write nothing.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace another flow of this slug, with all its runs.")
    ] = False,
) -> None:
    """Store flows of a module, or one that is data; one that is not well formed never reaches the database."""
    found: list[Flow[Any, Any]] | list[FlowSpec] = [read_spec(flow)] if _is_spec(flow) else find_flows(flow)
    statements = [each.sql() for each in found]  # checks all before the first is stored
    if sql:
        typer.echo("\n".join(statements), nl=False)
        return
    with Client(context.obj["dsn"]) as client:
        for each in found:
            typer.echo(f"{each.slug}: {_OUTCOMES[client.compile(each, replace=replace)]}")


_OUTCOMES = {
    "compiled": "stored",
    "verified": "is there already, and the same",
    "updated": "its options were updated",
    "recompiled": "replaced, with all its runs",
}


def read_spec(source: str) -> FlowSpec:
    """The spec in a file, or on standard input; raises InvalidInputError, FlowDefinitionError."""
    try:
        return FlowSpec.read(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidInputError(f"cannot read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"cannot read {source}: it is no UTF-8") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{'standard input' if source == '-' else source}: {error}") from error


def _is_spec(argument: str) -> bool:
    return argument == "-" or argument.endswith(_SUFFIXES)


def _print_counts(flow: FlowSpec, counts: dict[str, int | None]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    table.add_column("tasks", no_wrap=True)
    table.add_column("waits for")
    for step in flow.steps_in_order:
        count = counts[step.slug]
        source = step.depends_on[0] if step.depends_on else "the input"
        tasks = f"one per element of {source}" if count is None else f"{count:,}"
        table.add_row(step.slug, tasks, ", ".join(step.depends_on))
    terminal.console().print(table)
    known = sum(count for count in counts.values() if count is not None)
    unknown = sum(count is None for count in counts.values())
    rest = f", and those of {many(unknown, 'map')} whose list is not known yet" if unknown else ""
    conditional = any(step.run_if is not None or step.run_unless is not None for step in flow.steps)
    typer.echo(
        f"{flow.slug} is well formed: {many(len(flow.steps), 'step')}, {many(known, 'task')}{rest}"
        + (" (if every condition is met)" if conditional else "")
    )
