"""`pgflow worker`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from pgflow.cli.flows import find_flows
from pgflow.worker import Worker


def worker(
    context: typer.Context,
    flows: Annotated[
        list[str], typer.Argument(metavar="MODULE[:FLOW]…", help="Modules or .py files; all their flows, or one.")
    ],
    concurrency: Annotated[int | None, typer.Option(help="Tasks at once. [PGFLOW_CONCURRENCY, else 20]")] = None,
    grace: Annotated[
        float | None, typer.Option(help="Seconds that running tasks get when it is stopped. [PGFLOW_GRACE, else 25]")
    ] = None,
    lease: Annotated[
        int | None,
        typer.Option(help="Seconds without a heartbeat after which its tasks run elsewhere. [PGFLOW_LEASE, else 15]"),
    ] = None,
) -> int:
    """Work on flows until SIGINT or SIGTERM; then finish what runs, hand back the rest, and exit with 0.

    A second signal exits at once, with 130. Flows are stored at start, or compared with those in the database.
    """
    _log(verbose=context.obj["verbose"])
    found = {id(flow): flow for reference in flows for flow in find_flows(reference)}
    return Worker(list(found.values()), dsn=context.obj["dsn"], concurrency=concurrency, grace=grace, lease=lease).run()


def _log(*, verbose: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("pgflow").setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        # The worker itself says, once, that the database is away; the pool would repeat it per connection.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
