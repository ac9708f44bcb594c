"""Django in this process, with a test's database under an alias."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import connections
from django.test.utils import override_settings

from tests.db.test_callers import configured


@contextmanager
def database(dsn: str = "host=nowhere dbname=shop", **settings: Any) -> Iterator[str]:
    """Among DATABASES, with these settings beside its address, and named by PGFLOW -> its alias."""
    configured(dsn)
    connections.databases["pgflow"] |= settings
    del connections["pgflow"]  # made of what was there before
    with override_settings(PGFLOW={"DATABASE": "pgflow"}):
        try:
            yield "pgflow"
        finally:
            with suppress(AttributeError):  # nobody asked for it
                connections["pgflow"].close()
                del connections["pgflow"]


@pytest.fixture
def alias(dsn: str) -> Iterator[str]:
    """`dsn` among DATABASES."""
    with database(dsn) as alias:
        yield alias
