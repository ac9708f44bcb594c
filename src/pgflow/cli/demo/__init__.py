"""`pgflow demo`: the main job, on real input, while one watches."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from pgflow.cli import terminal
from pgflow.cli.demo.flow import Request, standard_library, survey
from pgflow.cli.demo.progress import StepBars
from pgflow.client import AsyncClient
from pgflow.config import mask_password
from pgflow.errors import PgflowError
from pgflow.execute import output_of
from pgflow.records import Run
from pgflow.worker import Worker

#: Seconds between two looks at the run.
_LOOK = 0.2
#: Seconds that files being measured get when somebody presses Ctrl-C.
_GRACE = 2.0


class NothingToResume(PgflowError):
    """There is no unfinished demo in the database."""


class OutputNotWritable(PgflowError):
    """The report cannot be written where it should go."""


def demo(
    context: typer.Context,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the last demo was stopped.")] = False,
    output: Annotated[Path, typer.Option(help="Where the HTML report of a new demo goes.")] = Path("pgflow-demo.html"),
) -> None:
    """Survey Python's standard library with a flow: a first look at pgflow that needs no database.

    Stop it with Ctrl-C and go on with --resume: what was measured is kept.
    """
    logging.getLogger("pgflow").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore", SyntaxWarning)  # what ast finds in other people's files
    path = output.absolute()
    if not resume:
        _check_writable(path)
    if not asyncio.run(_demo(context.obj["dsn"], resume, path)):
        sys.stderr.write(f"stopped; what was measured is kept: `{terminal.command()} demo --resume` goes on\n")
        raise KeyboardInterrupt


def _check_writable(path: Path) -> None:
    """Checked before anything starts, not after a minute of work."""
    reason = None
    if path.is_dir():
        reason = "it is a directory"
    elif not path.parent.is_dir():
        reason = f"{path.parent} is no directory"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "permission denied"
    if reason:
        raise OutputNotWritable(f"cannot write the report to {path} ({reason}): name another file with --output")


async def _demo(dsn: str | None, resume: bool, path: Path) -> bool:
    """Whether it came to its end before Ctrl-C."""
    out = terminal.console()
    interrupted = _on_interrupt()
    async with Worker([survey], dsn=dsn, grace=_GRACE) as worker, AsyncClient(worker.dsn) as client:
        run_id = await _unfinished(client) if resume else await _start(client, path, out)
        run = await _watch(client, run_id, out, interrupted)
    if not run.ended:
        return False
    report = output_of(run)["report"]
    _print_top(report["top"], out)
    out.print(f"\nThe report, with a picture:  {report['path']}")
    where = f" --dsn {mask_password(dsn)}" if dsn else ""
    out.print(f"The run, still in PostgreSQL: {terminal.command()}{where} show {run_id}")
    return True


async def _start(client: AsyncClient, path: Path, out: Console) -> UUID:
    run = await client.start(survey, Request(root=standard_library(), output=str(path)))
    out.print(f"Surveying {standard_library()}, one task per file. Ctrl-C stops, --resume goes on.\n")
    return run.run_id


async def _unfinished(client: AsyncClient) -> UUID:
    runs = await client.list_runs(survey, status="started", limit=1)
    if not runs:
        raise NothingToResume("no demo was left unfinished in this database: run `pgflow demo`")
    return runs[0].run_id


def _on_interrupt() -> asyncio.Event:
    """Set by Ctrl-C; a second one exits at once.

    An event to look at, since a cancelled task may swallow its cancellation (asyncio.wait_for did, before 3.12).
    """
    interrupted = asyncio.Event()

    def on_signal() -> None:
        if interrupted.is_set():
            os._exit(130)
        interrupted.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, on_signal)
    return interrupted


async def _watch(client: AsyncClient, run_id: UUID, out: Console, interrupted: asyncio.Event) -> Run:
    """The run at its end, or as it stands when somebody pressed Ctrl-C."""
    with StepBars(out) as bars:
        while True:
            run = await client.get_run(run_id)
            bars.update(run)
            if run.ended or interrupted.is_set():
                return run
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await interrupted.wait()


def _print_top(functions: list[dict[str, object]], out: Console) -> None:
    table = Table(title="The most complex functions", title_justify="left", box=None, pad_edge=False)
    table.add_column("", justify="right", style="dim")
    table.add_column("function", overflow="ellipsis", no_wrap=True)
    table.add_column("where", overflow="ellipsis", no_wrap=True, style="dim")
    table.add_column("complexity", justify="right")
    for rank, function in enumerate(functions, start=1):
        table.add_row(
            str(rank), str(function["name"]), f"{function['path']}:{function['line']}", str(function["complexity"])
        )
    out.print()
    out.print(table)
