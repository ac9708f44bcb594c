"""The app as Django sees it."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate

from pgflow import schema
from pgflow.contrib.django import conf
from pgflow.contrib.django.address import dsn
from pgflow.contrib.django.checks import check_flows, check_settings


class PgflowConfig(AppConfig):
    """Registers the checks, and migrates along with Django where the setting says so."""

    name = "pgflow.contrib.django"
    label = "pgflow"
    verbose_name = "pgflow"

    def ready(self) -> None:
        checks.register(check_settings, "pgflow")
        checks.register(check_flows, "pgflow")
        post_migrate.connect(migrate_along, sender=self)


def migrate_along(*, using: str, verbosity: int, stdout: Any = sys.stdout, **_: Any) -> None:
    """Called when Django has migrated a database, also one that it made for tests."""
    read = conf.read()
    if not read.migrate or using != read.database:
        return
    if (applied := schema.migrate(dsn())) and verbosity >= 1:
        stdout.write(f"pgflow: {len(applied)} scripts applied\n")
