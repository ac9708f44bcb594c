"""`pgflow start`, `show`, `runs`, `cancel`, `retry`, `rerun`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgflow import showing
from pgflow.cli import live, terminal
from pgflow.cli.arguments import read_input
from pgflow.cli.flows import flow_named
from pgflow.client import Client
from pgflow.client.arguments import checked_timeout
from pgflow.errors import InvalidInputError, RunTimeout
from pgflow.records import Run

_LONGEST_SHOWN = 2000

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


def start(
    context: typer.Context,
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="A flow's slug, or MODULE:FLOW.")],
    input: Annotated[str, typer.Argument(metavar="JSON|@FILE|-", help="The input: JSON, a file, or standard input.")],
    key: Annotated[str | None, typer.Option(help="Start it once: the same key gives the same run.")] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before: 2026-12-24T18:00+01:00; without an offset, local time."),
    ] = None,
    delay: Annotated[float | None, typer.Option(help="Not within so many seconds.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and print its output.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most, with --wait.")] = None,
    as_json: Json = False,
) -> int:
    """Start a run of a flow; with --wait exit with 1 if it fails."""
    if timeout is not None and not wait:
        raise InvalidInputError("--timeout says how long --wait waits: give --wait, too")
    checked_timeout(timeout)
    value = read_input(input)
    target = flow_named(flow)
    start_at = None if at is None else _read_time(at)
    with Client(context.obj["dsn"]) as client:
        run = client.start(target, value, key=key, at=start_at, delay=delay)
        if not wait:
            say_started(run, as_json=as_json)
            return 0
        try:
            run = client.wait(run, timeout=timeout)
        except RunTimeout:
            if as_json:
                terminal.print_json(_plain(client.get_run(run)))
            raise
    if as_json:
        terminal.print_json(_plain(run))
    elif run.status == "completed":
        terminal.print_json(run.output)
    else:
        _print_run(run)
    return 0 if run.status == "completed" else 1


def show(
    context: typer.Context,
    run: RunId,
    as_json: Json = False,
) -> None:
    """Show a run: its steps, how far they are, what came of it or what went wrong."""
    with Client(context.obj["dsn"]) as client:
        found = client.get_run(run)
    if as_json:
        terminal.print_json(_plain(found))
    else:
        _print_run(found)


def runs(
    context: typer.Context,
    flow: Annotated[str | None, typer.Option(help="Only runs of this flow.")] = None,
    status: Annotated[str | None, typer.Option(help="Only started, completed, failed or cancelled ones.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="Go on showing them as they change, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """List the newest runs; with --follow and --json a line of JSON per run and change."""
    with Client(context.obj["dsn"]) as client:
        look = partial(client.list_runs, flow, status=status, limit=limit, values=as_json)
        if follow:
            _follow(look, as_json=as_json)
            return
        found = look()
    if as_json:
        terminal.print_json([_plain(run) for run in found])
    elif found:
        terminal.console().print(runs_table(found))
    else:
        sys.stderr.write("no such runs\n" if flow or status else "no runs yet: `pgflow start FLOW JSON` starts one\n")


def _follow(look: Callable[[], list[Run]], *, as_json: bool) -> None:
    listings = live.looks(look, every=1.0)
    if sys.stdout.isatty() and not as_json:
        live.draw(map(runs_table, listings))
        return
    for run in live.changes(listings):
        if as_json:
            live.print_line(run)
        else:
            words = (showing.moment(showing.end_of(run)), str(run.run_id), run.flow_slug, run.status, run.error)
            print(*filter(None, words), flush=True)  # noqa: T201


def cancel(
    context: typer.Context,
    run: RunId,
    reason: Annotated[str | None, typer.Option(help="Why; stored as the run's error.")] = None,
    as_json: Json = False,
) -> None:
    """Cancel a run: nothing of it is started any more, and handlers at work on it are cancelled."""
    with Client(context.obj["dsn"]) as client:
        found = client.cancel(run, reason=reason)
    _say(found, f"cancelled run {found.run_id} of {found.flow_slug}", as_json=as_json)


def retry(context: typer.Context, run: RunId, as_json: Json = False) -> None:
    """Let a failed or cancelled run go on from what failed it; completed work is kept."""
    with Client(context.obj["dsn"]) as client:
        found = client.retry(run)
    how = f"has {found.status} at once" if found.ended else "goes on"  # a condition was judged again, say
    _say(found, f"run {found.run_id} of {found.flow_slug} {how}: {_look(found)}", as_json=as_json)


def rerun(
    context: typer.Context,
    run: RunId,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step to begin at.")],
    input: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE|-", help="Another input; else that of the run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a new run from a step on, with the outputs of all steps that do not come after it."""
    options = {} if input is None else {"input": read_input(input)}
    with Client(context.obj["dsn"]) as client:
        found = client.rerun(run, step, **options)
    _say(found, f"started run {found.run_id} of {found.flow_slug}, from {step} on: {_look(found)}", as_json=as_json)


def _read_time(argument: str) -> datetime:
    try:
        return datetime.fromisoformat(argument).astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{argument!r} is no time: expected one like 2026-12-24T18:00+01:00, or without an offset for local time"
        ) from error


# ---------------------------------------------------------------------------------------- output


def _plain(run: Run) -> dict[str, Any]:
    return asdict(run)


def _say(run: Run, line: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(_plain(run))
    else:
        typer.echo(line)


def say_started(run: Run, *, as_json: bool) -> None:
    """Says that a run was started, and how to look at it."""
    _say(run, f"started run {run.run_id} of {run.flow_slug}: {_look(run)}", as_json=as_json)


def _look(run: Run) -> str:
    return f"`{terminal.command()} show {run.run_id}` says how it goes"


def runs_table(found: list[Run]) -> Table:
    """A line per run."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "flow", "status", "started", "took", "error"):
        table.add_column(heading, no_wrap=heading in ("run", "status", "took"))  # the others give way
    for run in found:
        table.add_row(
            str(run.run_id),
            _on_one_line(run.flow_slug),
            terminal.status(run.status),
            _on_one_line(showing.moment(run.started_at)),
            showing.run_time(run),
            _on_one_line(showing.shortened(run.error or "", 80)),
        )
    return table


def _on_one_line(text: str) -> Text:
    """Cut where there is no room: ids are to be pasted, and stay whole."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _print_run(run: Run) -> None:
    out = terminal.console()
    out.print(title(run))
    out.print(f"started {showing.moment(run.started_at)}", style="dim")
    if run.parent_run_id is not None:
        out.print(f"a rerun of run {run.parent_run_id}", style="dim")
    out.print()
    out.print(_steps_table(run))
    if run.failed_task is not None:
        task = run.failed_task
        out.print()
        out.print(Text(f"failed in {task.step_slug}, task {task.task_index}, attempt {task.attempt}:", style="red"))
        out.print(Padding(Text(task.error_message or "no reason was stored"), (0, 0, 0, 2)))
    elif run.error is not None:
        out.print()
        out.print(Text(run.error, style="red"))
    _print_value("input", run.input)
    if run.status == "completed":
        _print_value("output", run.output)


def title(run: Run) -> Text:
    """Which run it is, where it stands, and how long it took."""
    took = showing.run_time(run)
    return Text.assemble(f"run {run.run_id} of {run.flow_slug}: ", terminal.status(run.status), f", {took}")


def _steps_table(run: Run) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("tasks", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("")
    for step in run.steps.values():
        tasks = "" if step.initial_tasks is None else f"{step.done_tasks}/{step.initial_tasks}"
        took = showing.step_time(run, step)
        note = step.error_message or step.skip_reason or ""
        table.add_row(
            step.step_slug, terminal.status(showing.shown_status(run, step)), tasks, took, showing.shortened(note, 80)
        )
    return table


def _print_value(title: str, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    out = terminal.console()
    out.print()
    out.print(Text(title, style="bold"))
    out.print(Text(text[:_LONGEST_SHOWN]))
    if len(text) > _LONGEST_SHOWN:
        out.print(f"… {len(text) - _LONGEST_SHOWN:,} characters more: `--json` shows all", style="dim")
