"""Where runs are: one of DATABASES, as an address for psycopg."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from pgflow.contrib.django import conf
from pgflow.flow.slugs import did_you_mean


class UnknownDatabase(ImproperlyConfigured):
    """PGFLOW names a database that is not among DATABASES."""


def connection() -> Any:
    """Django's connection, this thread's own, to the database that runs are in; raises ImproperlyConfigured."""
    alias = conf.read().database
    if alias not in connections:
        raise UnknownDatabase(f"PGFLOW: DATABASES has no {alias!r}{did_you_mean(alias, connections)}")
    found = connections[alias]
    if found.vendor != "postgresql":
        engine = found.settings_dict["ENGINE"]
        raise ImproperlyConfigured(
            f"PGFLOW: database {alias!r} has the engine {engine}, but runs are in PostgreSQL: "
            "give the alias of one that is, as PGFLOW = {'DATABASE': …}"
        )
    return found


def dsn() -> str:
    """The address of the database that runs are in; of the test's database, while Django tests.

        pgflow.Client(dsn())        # with connections of its own, outside the request's transaction

    What Django itself would connect with, as far as libpq knows it. Raises ImproperlyConfigured.
    """
    database = connection()
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    parts = {name: value for name, value in database.get_connection_params().items() if name in known}
    if role := database.settings_dict["OPTIONS"].get("assume_role"):
        escaped = re.sub(r"([\\\s])", r"\\\1", role)
        parts["options"] = f"{parts.get('options', '')} -c role={escaped}".strip()
    return make_conninfo(**parts)
