"""`pgflow pause`, `resume`; flows by name: `package.module`, `package.module:flow`, `path/to/file.py[:flow]`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from pgflow.client import Client
from pgflow.client.arguments import slug_of
from pgflow.errors import PgflowError
from pgflow.flow import Flow
from pgflow.flow.slugs import did_you_mean


class FlowNotImportable(PgflowError):
    """What was given on the command line leads to no flow."""


Name = Annotated[str, typer.Argument(metavar="FLOW", help="A flow's slug, or MODULE:FLOW.")]


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
    module_name, _, name = reference.partition(":")
    module = _import(module_name)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    if not name:
        flows = list({id(flow): flow for flow in found.values()}.values())
        if not flows:
            raise FlowNotImportable(f"{module_name} has no flows: assign a pgflow.Flow to a name in it")
        return flows
    if name in found:
        return [found[name]]
    by_slug = {flow.slug: flow for flow in found.values()}
    if name in by_slug:
        return [by_slug[name]]
    hint = did_you_mean(name, found) or (f"; it has {', '.join(found)}" if found else "; it has none at all")
    raise FlowNotImportable(f"{module_name} has no flow {name!r}{hint}")


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
        raise FlowNotImportable(f"importing {name} failed: {error}") from error
    except PgflowError:
        raise
    except Exception as error:
        raise FlowNotImportable(f"importing {name} failed: {type(error).__name__}: {error}") from error


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
