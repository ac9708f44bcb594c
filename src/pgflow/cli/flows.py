"""`pgflow flows`, `pause`, `resume`; what names flows: `package.module`, `module:flow`, `path/to/file.py[:flow]`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.table import Table

from pgflow import showing
from pgflow.cli import terminal
from pgflow.cli.arguments import Age, DryRun, read_age
from pgflow.client import Client
from pgflow.client.arguments import slug_of
from pgflow.errors import FlowNotFound, PgflowError
from pgflow.flow import Flow, Handlers, location
from pgflow.flow.slugs import did_you_mean
from pgflow.records import StoredFlow


class FlowNotImportable(PgflowError):
    """What was given on the command line leads to no flow, or to no function."""


class NoFlows(FlowNotImportable):
    """A module was imported, and has neither flows nor handlers."""


Name = Annotated[str, typer.Argument(metavar="FLOW", help="A flow's slug, or MODULE:FLOW.")]
Slug = Annotated[str, typer.Argument(metavar="SLUG", help="A stored flow's slug.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

EPILOG = "--dsn URL and --verbose may stand here, too."

app = typer.Typer()


@app.callback(invoke_without_command=True, epilog=EPILOG)
def flows(context: typer.Context, as_json: Json = False) -> None:
    """List the stored flows: their steps, unfinished runs, live workers, messages in the queue. Show or delete one."""
    if context.invoked_subcommand is not None:
        return
    with Client(context.obj["dsn"]) as client:
        found = client.flows.list()
    if as_json:
        terminal.print_json([asdict(flow) for flow in found])
    elif found:
        _print_flows(found)
    else:
        sys.stderr.write("no flows yet: `pgflow compile FLOW` stores one, and so does `pgflow worker`\n")


@app.command(epilog=EPILOG)
def show(context: typer.Context, slug: Slug, as_json: Json = False) -> None:
    """Draw a stored flow; with --json print it as a spec, which `pgflow compile` takes."""
    with Client(context.obj["dsn"]) as client:
        spec = client.flows.get(slug)
    if as_json:
        terminal.print_json(spec.model_dump(mode="json", exclude_defaults=True))
        return
    typer.echo(spec)
    for step in spec.steps:
        if step.handler is not None:
            typer.echo(f"{step.slug}: by handler {step.handler}")


@app.command(epilog=EPILOG)
def delete(
    context: typer.Context,
    slug: Slug,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a flow with its queue, all its runs and their history."""
    with Client(context.obj["dsn"]) as client:
        if not yes:
            typer.confirm(f"Delete flow {slug}, with all its runs{_unfinished(client, slug)}?", abort=True)
        client.flows.delete(slug)
    typer.echo(f"deleted {slug}")


@app.command(epilog=EPILOG)
def prune(
    context: typer.Context,
    older_than: Age,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete the flows made as data that nobody uses: unchanged for so long, and without a run or a schedule."""
    age = read_age(older_than)
    with Client(context.obj["dsn"]) as client:
        pruned = client.flows.prune(age, dry_run=dry_run)
    if as_json:
        terminal.print_json({"dry_run": dry_run, "flows": pruned})
        return
    what = f"{showing.many(len(pruned), 'flow')}{': ' if pruned else ''}{', '.join(pruned)}"
    typer.echo(f"{'would delete' if dry_run else 'deleted'} {what}")


def _unfinished(client: Client, slug: str) -> str:
    found = [flow.unfinished_runs for flow in client.flows.list() if flow.flow_slug == slug]
    if not found:
        raise FlowNotFound(slug)
    return f" ({found[0]:,} of which go on)" if found[0] else ""


def _print_flows(found: list[StoredFlow]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("flow", no_wrap=True)
    for heading in ("steps", "unfinished runs", "workers", "queued"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for flow in found:
        notes = [note for note, holds in (("dynamic", flow.is_dynamic), ("paused", flow.is_paused)) if holds]
        numbers = (flow.steps, flow.unfinished_runs, flow.workers, flow.queued)
        table.add_row(flow.flow_slug, *(f"{number:,}" for number in numbers), ", ".join(notes))
    terminal.console().print(table)


def pause(context: typer.Context, flow: Name) -> None:
    """Pause a flow: none of its tasks is started until `pgflow resume`; what runs goes on."""
    target = flow_named(flow)
    with Client(context.obj["dsn"]) as client:
        client.pause(target)
    slug = slug_of(target)
    typer.echo(f"paused {slug}: `pgflow resume {slug}` lets it go on")


def resume(context: typer.Context, flow: Name) -> None:
    """Resume a paused flow."""
    target = flow_named(flow)
    with Client(context.obj["dsn"]) as client:
        client.resume(target)
    typer.echo(f"resumed {slug_of(target)}")


def flow_named(reference: str) -> Flow[Any, Any] | str:
    """The flow that `MODULE:NAME` names; anything else is a slug. Raises FlowNotImportable."""
    return find_flows(reference)[0] if ":" in reference else reference


def find_flows(reference: str) -> list[Flow[Any, Any]]:
    """The flow that `MODULE:NAME` names, or all flows of `MODULE`; raises FlowNotImportable."""
    flows = [found for found in find_served(reference) if isinstance(found, Flow)]
    if not flows:
        raise FlowNotImportable(
            f"{reference} has handlers only: the flows that they serve are data, stored by `pgflow compile SPEC`"
        )
    return flows


def find_served(reference: str) -> list[Flow[Any, Any] | Handlers]:
    """The flow or the handlers that `MODULE:NAME` names, or all of `MODULE`; raises FlowNotImportable."""
    module_name, _, name = reference.partition(":")
    module = _import(module_name)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Flow | Handlers)}
    if not name:
        served = list({id(value): value for value in found.values()}.values())
        if not served:
            raise NoFlows(f"{module_name} has no flows: assign a pgflow.Flow to a name in it")
        return served
    if name in found:
        return [found[name]]
    by_slug = {value.slug: value for value in found.values() if isinstance(value, Flow)}
    if name in by_slug:
        return [by_slug[name]]
    hint = did_you_mean(name, found) or (f"; it has {', '.join(found)}" if found else "; it has none at all")
    raise FlowNotImportable(f"{module_name} has no flow {name!r}{hint}")


def find_function(reference: str) -> Callable[..., Any]:
    """The function that `MODULE:NAME` names; raises FlowNotImportable."""
    found: Callable[..., Any] = _find(reference, "function", callable)
    return found


def find_executors(reference: str) -> Mapping[str, Executor] | Callable[..., Any]:
    """The mapping, or the function that yields one, that `MODULE:NAME` names; raises FlowNotImportable."""
    found: Mapping[str, Executor] | Callable[..., Any] = _find(
        reference, "mapping or function", lambda value: isinstance(value, Mapping) or callable(value)
    )
    return found


def _find(reference: str, kind: str, fits: Callable[[object], bool]) -> Any:
    module_name, _, name = reference.partition(":")
    if not name:
        raise FlowNotImportable(f"{reference} names no {kind}: give MODULE:NAME")
    names = {key: value for key, value in vars(_import(module_name)).items() if fits(value)}
    if name not in names:
        raise FlowNotImportable(f"{module_name} has no {kind} {name!r}{did_you_mean(name, names)}")
    return names[name]


def _import(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise FlowNotImportable(
                f"no module {error.name!r} here ({Path.cwd()}) or among the installed packages: give MODULE, "
                "MODULE:FLOW or a .py file"
            ) from error
        raise FlowNotImportable(f"importing {name} failed: {error}{place(error)}") from error
    except PgflowError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}{place(error)}"
        raise FlowNotImportable(f"importing {name} failed: {reason}") from error


def place(error: Exception) -> str:
    """` (flows.py:12)`, to be put behind an error that the user's code raised."""
    found = location.of_error(error)
    return f" ({found})" if found else ""


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FlowNotImportable(f"there is no file {path}")
    sys.path.insert(0, str(path.parent.absolute()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FlowNotImportable(f"{path} is no Python file")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
