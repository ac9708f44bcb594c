"""`pgflow worker`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pgflow.cli.around import blamed
from pgflow.cli.flows import find_executors, find_function, find_served
from pgflow.cli.program import Program
from pgflow.cli.reload import changed_files
from pgflow.config import SettingsError, load
from pgflow.worker import Supervisor, Worker
from pgflow.worker.leftovers import exit_past_threads


def worker(
    context: typer.Context,
    flows: Annotated[
        list[str],
        typer.Argument(metavar="MODULE[:NAME]…", help="Modules or .py files: all their flows and handlers, or one."),
    ],
    concurrency: Annotated[int | None, typer.Option(help="Tasks at once. [PGFLOW_CONCURRENCY, else 20]")] = None,
    grace: Annotated[
        float | None, typer.Option(help="Seconds that running tasks get when it is stopped. [PGFLOW_GRACE, else 25]")
    ] = None,
    lease: Annotated[
        int | None,
        typer.Option(help="Seconds without a heartbeat after which its tasks run elsewhere. [PGFLOW_LEASE, else 15]"),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Worker processes; with more than 1 a parent replaces those that crash.")
    ] = 1,
    handler_processes: Annotated[
        int | None,
        typer.Option(
            help="Processes per worker for handlers with executor='process'. [PGFLOW_HANDLER_PROCESSES, else its cores]"
        ),
    ] = None,
    max_tasks_per_child: Annotated[
        int | None,
        typer.Option(help="Tasks after which such a process is replaced. [PGFLOW_MAX_TASKS_PER_CHILD, else never]"),
    ] = None,
    executors: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="Executors by name, or a function that yields them, for steps that name one."
        ),
    ] = None,
    lifespan: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Opened around the work; what it yields is in ctx.resources."),
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Work what is there, then exit with 0; later retries and delays are left.")
    ] = False,
    dev: Annotated[
        bool, typer.Option("--dev", help="Replace a changed flow that has no unfinished runs; log in detail.")
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a .py file changes, here or beside the modules.")
    ] = False,
    core: Annotated[
        str, typer.Option(help="'own', or 'foreign': the database has pgflow's own (TypeScript) core.")
    ] = "own",
) -> int:
    """Work on flows until SIGINT or SIGTERM; then finish what runs, hand back the rest, and exit with 0.

    A second signal exits at once, with 130. Exits with 4, by itself, when half of its slots are held by handlers that
    overran their timeout and cannot be stopped, or one of them blocks the event loop. Flows are stored at start, or
    compared with those in the database; handlers (pgflow.Handlers) serve the flows stored there as data, also those
    that come later.
    """
    dsn, verbose, program = context.obj["dsn"], context.obj["verbose"], context.obj["program"]
    _log(verbose=verbose or dev)
    options: dict[str, Any] = {
        "concurrency": concurrency,
        "grace": grace,
        "lease": lease,
        "handler_processes": handler_processes,
        "max_tasks_per_child": max_tasks_per_child,
        "core": core,
    }
    if reload and drain:
        raise SettingsError("--reload and --drain exclude each other: a worker that starts anew never ends")
    if processes > 1 or reload:
        flags = {"--verbose": verbose, "--drain": drain, "--dev": dev}
        given = {**options, "executors": executors, "lifespan": lifespan}
        again = _command(program, flows, given, [flag for flag, is_set in flags.items() if is_set])
        changes = changed_files(flows) if reload else None
        patience = load(grace=grace).grace
        return Supervisor(again, processes, _environment(dsn), grace=patience, drain=drain, changes=changes).run()
    found = {id(flow): flow for reference in flows for flow in find_served(reference)}
    around = blamed(f"lifespan {lifespan}", find_function(lifespan)) if lifespan is not None else None
    named = find_executors(executors) if executors is not None else None
    if callable(named):
        named = blamed(f"executors {executors}", named)
    serving = Worker(
        list(found.values()), dsn=dsn, executors=named, lifespan=around, middleware=program.middleware, dev=dev,
        **options,
    )  # fmt: skip
    return exit_past_threads(serving.run(drain=drain))


def _command(program: Program, flows: list[str], options: Mapping[str, Any], flags: list[str]) -> list[str]:
    """This command again, for one process."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    return [*program.command, "worker", *given, *flags, "--", *flows]


def _environment(dsn: str | None) -> dict[str, str]:
    """The address as children get it: what stands in a command line, everybody on the machine can read."""
    return {} if dsn is None else {"PGFLOW_DATABASE_URL": dsn}


def _log(*, verbose: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("pgflow").setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        # The worker itself says, once, that the database is away; the pool would repeat it per connection.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
