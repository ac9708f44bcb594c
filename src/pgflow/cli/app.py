"""The commands put together, global options, and errors as one line with an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

import pgflow
from pgflow.cli import dashboard, demo, doctor, flows, prune, runs, schedules, schema, specs, watch, work
from pgflow.cli.around import OpeningFailed
from pgflow.cli.program import Program
from pgflow.config import SettingsError, mask_password
from pgflow.errors import DatabaseUnreachable, PgflowError, RunFailed, RunTimeout

DONE, RUN_FAILED, WRONG_USE, NO_DATABASE, STUCK, OUR_FAULT, NOT_STARTED, INTERRUPTED = 0, 1, 2, 3, 4, 70, 71, 130
#: What each exit code says; docs/reference/commands.md is made from it.
EXIT_CODES = {
    DONE: "done; of `start --wait` and `watch`: the run completed; of `doctor`: nothing is wrong",
    RUN_FAILED: "the run failed, was cancelled or has not ended in time; of `doctor`: there are findings; of `worker`: "
    "its lifespan, or the function that yields its executors, raised",
    WRONG_USE: "wrong use: the command line, a setting, an input, or a database that does not hold what was asked for",
    NO_DATABASE: "the database cannot be reached",
    STUCK: "of `worker`: half of its slots were held by handlers that cannot be stopped",
    OUR_FAULT: "an unexpected error: a fault of ours",
    NOT_STARTED: "of `worker --processes`: no worker process could be started",
    INTERRUPTED: "interrupted by Ctrl-C, or not confirmed",
}

app = typer.Typer(
    help="Durable workflows in Python that need nothing but PostgreSQL.",
    epilog="Exit codes: 0 done, 1 the run failed, 2 wrong use, 3 the database cannot be reached.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_COMMANDS: dict[str, Callable[..., int | None]] = {
    "demo": demo.demo,
    "migrate": schema.migrate,
    "worker": work.worker,
    "start": runs.start,
    "show": runs.show,
    "watch": watch.watch,
    "prune": prune.prune,
    "doctor": doctor.doctor,
    "dashboard": dashboard.dashboard,
    "runs": runs.runs,
    "cancel": runs.cancel,
    "retry": runs.retry,
    "rerun": runs.rerun,
    "pause": flows.pause,
    "resume": flows.resume,
    "validate": specs.validate,
    "compile": specs.compile,
}
for _name, _command in _COMMANDS.items():
    app.command(_name, epilog=flows.EPILOG)(_command)
app.add_typer(flows.app, name="flows")
_schedule = typer.Typer(help="Make, list and control schedules.", no_args_is_help=True)
for _name, _command in schedules.COMMANDS.items():
    _schedule.command(_name, epilog=flows.EPILOG)(_command)
app.add_typer(_schedule, name="schedule")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"py-pgflow {pgflow.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    dsn: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The database. Else PGFLOW_DATABASE_URL, DATABASE_URL, or the embedded PostgreSQL.",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Errors with their traceback, logs in detail.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = {"dsn": dsn, "verbose": verbose, "program": context.obj}


def run(arguments: list[str], program: Program = Program()) -> int:  # noqa: B008  # it is frozen
    """Runs one command; returns the exit code. `--dsn` and `--verbose` may stand anywhere."""
    verbose = "--verbose" in arguments
    try:
        code = app(
            _globals_first(arguments),
            prog_name=program.name, standalone_mode=False, default_map=program.defaults, obj=program,
        )  # fmt: skip
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.Abort:
        sys.stderr.write("pgflow: not confirmed, nothing was changed\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `pgflow runs | head` is no error
        return DONE
    except Exception as error:
        if verbose:
            sys.stderr.writelines(mask_password(line) for line in traceback.format_exception(error))
        line, code = _explained(error)
        sys.stderr.write(f"pgflow: {mask_password(line)}\n")
        return code
    return code if isinstance(code, int) else DONE


def _globals_first(arguments: list[str]) -> list[str]:
    """Puts the global options in front, wherever they stood before a `--`."""
    options, rest = [], []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument == "--dsn":
            if (value := next(remaining, None)) is None:
                raise SettingsError("--dsn needs an address: postgresql://user@host:5432/database")
            options += [argument, value]
        elif argument == "--verbose" or argument.startswith("--dsn="):
            options.append(argument)
        else:
            rest.append(argument)
    return options + rest


def _explained(error: Exception) -> tuple[str, int]:
    """The one line that says what went wrong and what to do, and the exit code."""
    match error:
        case RunFailed() | RunTimeout() | OpeningFailed():
            return str(error), RUN_FAILED
        case DatabaseUnreachable():
            return str(error), NO_DATABASE
        case PgflowError():
            return str(error), WRONG_USE
    # Usage errors are click's, wherever this version of typer keeps it.
    if callable(message := getattr(error, "format_message", None)):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "pgflow"
        message = message() or "Missing command."  # its help was shown
        return f"{' '.join(message.split())} See `{command} --help`.", WRONG_USE
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())} (--verbose shows where)", OUR_FAULT
