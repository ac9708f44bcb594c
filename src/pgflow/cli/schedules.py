"""`pgflow schedule add`, `list`, `pause`, `resume`, `run-now`, `delete`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from pgflow import showing
from pgflow.cli import terminal
from pgflow.cli.arguments import read_input
from pgflow.cli.flows import flow_named
from pgflow.cli.runs import Json, say_started
from pgflow.client import Client
from pgflow.flow.schedule import CatchUp
from pgflow.records import Schedule

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


def add(
    context: typer.Context,
    name: Name,
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="A flow's slug, or MODULE:FLOW.")],
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Five fields, in quotes: '*/5 * * * *'.")],
    tz: Annotated[str, typer.Option(help="The time zone whose clock it follows.")] = "UTC",
    input: Annotated[str, typer.Option(metavar="JSON|@FILE|-", help="The input of its runs.")] = "null",
    catch_up: Annotated[
        CatchUp,
        typer.Option(help="What is started of the slots that came while no worker was there; all: the latest 100."),
    ] = "last",
    as_json: Json = False,
) -> None:
    """Make a schedule: a run of a flow for each slot of a cron expression, whichever worker is there."""
    target, value = flow_named(flow), read_input(input)
    with Client(context.obj["dsn"]) as client:
        made = client.schedules.add(name, target, cron, tz=tz, input=value, catch_up=catch_up)
    _say(made, f"added {made.name}: next at {showing.moment(made.next_at)}", as_json=as_json)


def show_all(
    context: typer.Context,
    flow: Annotated[str | None, typer.Option(help="Only schedules of this flow.")] = None,
    as_json: Json = False,
) -> None:
    """List the schedules, with when they come next and what came of their last slot."""
    with Client(context.obj["dsn"]) as client:
        found = client.schedules.list(flow)
    if as_json:
        terminal.print_json([asdict(schedule) for schedule in found])
    elif found:
        _print(found)
    else:
        sys.stderr.write("no schedules: `pgflow schedule add NAME FLOW CRON` makes one\n")


def pause(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Pause a schedule: nothing of it is started until `pgflow schedule resume`."""
    with Client(context.obj["dsn"]) as client:
        found = client.schedules.pause(name)
    _say(found, f"paused {name}: `pgflow schedule resume {name}` lets it go on", as_json=as_json)


def resume(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Resume a paused schedule; what came in the pause is not made up for."""
    with Client(context.obj["dsn"]) as client:
        found = client.schedules.resume(name)
    _say(found, f"resumed {name}: next at {showing.moment(found.next_at)}", as_json=as_json)


def run_now(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Start a run as a schedule would, now and beside its slots."""
    with Client(context.obj["dsn"]) as client:
        say_started(client.schedules.run_now(name), as_json=as_json)


def delete(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Delete a schedule; its runs stay."""
    with Client(context.obj["dsn"]) as client:
        gone = client.schedules.delete(name)
    comes_back = "" if gone.origin == "user" else f"; it comes back while the code of flow {gone.flow_slug} declares it"
    _say(gone, f"deleted {name}{comes_back}", as_json=as_json)


COMMANDS: dict[str, Callable[..., None]] = {
    "add": add,
    "list": show_all,
    "pause": pause,
    "resume": resume,
    "run-now": run_now,
    "delete": delete,
}


def _say(schedule: Schedule, line: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(asdict(schedule))
    else:
        typer.echo(line)


def _print(found: list[Schedule]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "flow", "cron", "zone", "from", "next", "last slot"):
        table.add_column(heading, no_wrap=True)
    table.add_column("error", overflow="ellipsis", no_wrap=True)
    for schedule in found:
        table.add_row(
            schedule.name,
            schedule.flow_slug,
            schedule.cron,
            schedule.time_zone,
            schedule.origin,
            "paused" if schedule.paused_at else showing.moment(schedule.next_at),
            showing.moment(schedule.last_slot),
            showing.shortened(schedule.error or "", 80),
        )
    terminal.console().print(table)
