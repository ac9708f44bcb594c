"""What `manage.py check` says of pgflow; every command checks it first.

pgflow.E001     the setting PGFLOW has a key or a value that it cannot have
pgflow.E002     its DATABASE is not in DATABASES
pgflow.E003     that database is no PostgreSQL, or cannot be connected to as it is set
pgflow.E004     a module of flows cannot be imported
pgflow.E005     a flow is not well formed, or two have the same slug
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured

from pgflow.contrib.django import address, conf, discovery
from pgflow.errors import FlowDefinitionError, PgflowError
from pgflow.flow import Flow


def check_settings(**_: Any) -> list[Error]:
    try:
        conf.read()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="pgflow.E001")]
    try:
        address.dsn()
    except address.UnknownDatabase as error:
        return [Error(str(error), id="pgflow.E002")]
    except ImproperlyConfigured as error:
        return [Error(str(error), id="pgflow.E003")]
    return []


def check_flows(**_: Any) -> list[Error]:
    try:
        references = discovery.references()
    except ImproperlyConfigured:  # check_settings tells
        return []
    return list(_faults(references))


def _faults(references: list[str]) -> Iterator[Error]:
    by_slug: dict[str, Flow[Any, Any]] = {}
    for reference in references:
        try:
            for flow in discovery.find_served(reference):
                flow.check()
                if isinstance(flow, Flow) and by_slug.setdefault(flow.slug, flow) is not flow:
                    yield Error(f"{reference}: two different flows have the slug {flow.slug!r}", id="pgflow.E005")
        except FlowDefinitionError as error:
            yield Error(f"{reference}: {error}", id="pgflow.E005")
        except PgflowError as error:
            yield Error(str(error), id="pgflow.E004")
