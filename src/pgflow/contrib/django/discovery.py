"""The project's flows: the `flows` module of every installed app, and what PGFLOW["FLOWS"] names."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from pgflow.contrib.django import conf
from pgflow.flow import Flow, Handlers


def references() -> list[str]:
    """The modules that may have flows, as `pgflow worker` takes them."""
    ours = [f"{app.name}.flows" for app in apps.get_app_configs() if module_has_submodule(app.module, "flows")]
    return list(dict.fromkeys([*ours, *conf.read().flows]))


def find_served(reference: str) -> list[Flow[Any, Any] | Handlers]:
    """What is served of it. A `flows` module of an app may be about something else; one that PGFLOW names may not.

    Raises FlowNotImportable.
    """
    from pgflow.cli import flows  # typer and rich: not for every process that answers requests

    try:
        return flows.find_served(reference)
    except flows.NoFlows:
        if reference in conf.read().flows:
            raise
        return []


def served_references() -> list[str]:
    """The modules that do have flows; raises FlowNotImportable, also if there is none."""
    from pgflow.cli.flows import NoFlows

    if found := [reference for reference in references() if find_served(reference)]:
        return found
    raise NoFlows(
        "this project has no flows: assign a pgflow.Flow to a name in the flows.py of an installed app, or name its "
        "module in PGFLOW['FLOWS']"
    )


def project_flows() -> list[Flow[Any, Any] | Handlers]:
    """All of the project's flows, and its handlers by name; raises FlowNotImportable."""
    return list({id(found): found for reference in references() for found in find_served(reference)}.values())
