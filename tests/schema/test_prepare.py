"""What a client or worker is told of a database that it cannot work with."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pgflow import schema
from pgflow.config import load
from pgflow.db import AsyncDatabase, Database
from pgflow.errors import DatabaseUnreachable, SchemaError
from tests.schema.support import is_installed


def _prepare(dsn: str) -> None:
    with Database(load(dsn=dsn)) as database:
        schema.prepare(database)


def test_a_migrated_database_will_do(dsn: str) -> None:
    _prepare(dsn)


async def test_it_is_the_same_for_an_asynchronous_database(database: AsyncDatabase) -> None:
    schema.prepare(database)


def test_an_empty_database_is_not_changed_but_refused(empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="no pgflow schema yet: run `pgflow migrate`"):
        _prepare(empty_dsn)
    assert not is_installed(empty_dsn)


def test_an_older_schema_is_refused(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("delete from pgflow.schema_migrations where number = 2")  # whatever came later
    with pytest.raises(SchemaError, match=r"lacks 0002_schedules, which this code needs: run `pgflow migrate`"):
        _prepare(dsn)


def test_a_newer_schema_is_refused(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into pgflow.schema_migrations (number, name) values (9999, '9999_future')")
    with pytest.raises(SchemaError, match=r"version 9999, newer than this code knows.*`pip install -U py-pgflow`"):
        _prepare(dsn)


def test_a_foreign_schema_is_refused(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgflow create table flows (flow_slug text)")
    with pytest.raises(SchemaError):
        _prepare(empty_dsn)


def test_nobody_at_the_address_is_said_without_the_password() -> None:
    with pytest.raises(DatabaseUnreachable, match="cannot reach") as caught:
        _prepare("postgresql://me:secret@127.0.0.1:1/nowhere")
    assert "secret" not in str(caught.value)


def test_the_embedded_database_is_migrated(embedded_directory: Path) -> None:
    with Database(load({}, embedded_dir=embedded_directory)) as database:
        schema.prepare(database)
        assert schema.migrate(database.dsn) == []
