"""`pgflow watch`: a run's DAG, live."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import typer
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pgflow import showing
from pgflow.cli import live, terminal
from pgflow.cli.runs import Json, RunId, title
from pgflow.client import Client
from pgflow.flow.drawing import indented
from pgflow.records import Progress, StepState

#: Seconds between two pictures: as often as an eye follows.
_EVERY = 0.25


def watch(context: typer.Context, run: RunId, as_json: Json = False) -> int:
    """Watch a run until it ends: its steps as they go; exit with 1 if it fails.

    Where standard output is no terminal a line per event is written, with --json one of JSON.
    """
    draws = sys.stdout.isatty() and not as_json
    with Client(context.obj["dsn"]) as client:
        if draws:
            live.draw(_pictures(lambda: client.get_progress(run)))
        else:
            _print_events(client, run, as_json=as_json)
        ended = client.get_progress(run).run
    out = terminal.console()
    if not draws and not as_json:  # the last picture has it on top
        out.print(title(ended))
    if ended.error is not None and not as_json:
        out.print(Text(ended.error, style="red"))
    return 0 if ended.status == "completed" else 1


def _print_events(client: Client, run: str, *, as_json: bool) -> None:
    for event in client.events(run):
        if as_json:
            live.print_line(event)
        else:
            words = (showing.moment(event.at), event.type, event.step_slug, event.error)
            print(*filter(None, words), flush=True)  # noqa: T201


def _pictures(look: Callable[[], Progress]) -> Iterator[RenderableType]:
    for progress in live.looks(look, every=_EVERY):
        yield picture(progress)
        if progress.run.ended:
            return


def picture(progress: Progress) -> RenderableType:
    """The DAG, a line per step: where it stands, how far, how long, and what went wrong."""
    table = Table.grid(padding=(0, 2, 0, 0))
    steps = progress.run.steps
    for slug, indent in indented({slug: progress.dependencies.get(slug, ()) for slug in steps}).items():
        step = steps[slug]
        table.add_row(
            Text(indent, style="dim") + Text(slug, style="bold"),
            terminal.status(showing.shown_status(progress.run, step)),
            *_how_far(step),
            showing.step_time(progress.run, step),
            _note(progress, step),
        )
    return Group(title(progress.run), table)


def _how_far(step: StepState) -> tuple[RenderableType, str]:
    """A bar and its numbers, where there are several tasks."""
    total = step.initial_tasks
    if total is None or total == 1:
        return "", ""
    bar = ProgressBar(total=max(total, 1), completed=step.done_tasks if total else 1, width=24)
    return bar, f"{step.done_tasks:,}/{total:,}"


def _note(progress: Progress, step: StepState) -> Text:
    if (retries := progress.retries.get(step.step_slug)) is not None:
        error = showing.shortened(retries.error_message, 60)
        return Text(f"{retries.tasks:,} failed, tried again (attempt {retries.attempt}): {error}", style="yellow")
    if step.error_message is not None:
        return Text(showing.shortened(step.error_message, 80), style="red")
    return Text(step.skip_reason or "", style="dim")
