"""A `pgflow` schema that is not ours: it is recognised, and left alone."""

from __future__ import annotations

import psycopg
import pytest

from pgflow import schema
from pgflow.config import load
from pgflow.db import Database
from pgflow.errors import SchemaError
from tests.foreign import npm
from tests.foreign.cores import REALTIME, disown, install_pgflow
from tests.schema.catalog import objects
from tests.schema.support import plain_owner
from tests.support import rows

_DROP = r"use another database, or drop that schema if it may go \(`drop schema pgflow cascade`\)"
_WORK = r", or work it as it is with `pgflow worker --core=foreign`"


def _prepare(dsn: str) -> None:
    with Database(load(dsn=dsn)) as database:
        schema.prepare(database)


def _is_refused(dsn: str, whose: str, choices: str) -> None:
    """By everything that would change it or work on it; and nothing is changed."""
    before = objects(dsn)
    for attempt in (schema.migrate, schema.script, _prepare):
        with pytest.raises(SchemaError) as caught:
            attempt(dsn)
        made = f"the database already has a pgflow schema that {whose} made, and not py-pgflow"
        assert caught.match(f"^{made}; nothing was changed: {choices}$")
    assert objects(dsn) == before


@pytest.mark.slow
def test_the_core_of_typescript_is_recognised_and_left_alone(pgflow_dsn: str) -> None:
    tables = ("pgflow.flows", "pgflow.runs", "pgflow.step_states", "pgflow.step_tasks", "pgmq.q_kept")
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        conn.execute("select pgflow.create_flow('kept'), pgflow.add_step('kept', 'a')")
        conn.execute("select pgflow.start_flow('kept', '[1, 2]')")
        before = [rows(conn, f"table {table}") for table in tables]
        assert all(before)
        _is_refused(pgflow_dsn, r"pgflow for TypeScript \(about 0\.8\)", _DROP + _WORK)
        assert [rows(conn, f"table {table}") for table in tables] == before


@pytest.mark.slow
def test_an_earlier_version_of_typescripts_core_is_told_from_0_8(empty_dsn: str) -> None:
    before_0_8 = [migration for migration in npm.migrations() if migration.name < "20251006"]
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(REALTIME)
        install_pgflow(conn, before_0_8)
    _is_refused(empty_dsn, r"pgflow for TypeScript \(older than 0\.8\)", _DROP + _WORK)


def test_a_later_version_of_typescripts_core_is_told_from_0_8(dsn: str, conn: psycopg.Connection) -> None:
    disown(conn)
    _is_refused(dsn, r"pgflow for TypeScript \(newer than 0\.8\.1\)", _DROP + _WORK)


def test_supabases_bookkeeping_tells_the_last_migration(dsn: str, conn: psycopg.Connection) -> None:
    disown(conn)
    conn.execute(
        "create schema supabase_migrations "
        "create table schema_migrations (version text primary key, statements text[], name text)"
    )
    conn.execute(
        "insert into supabase_migrations.schema_migrations (version, name) values "
        "('20251201000000', '20251006073122_pgflow_add_map_step_type'), "
        "('20251104080523', 'pgflow_upgrade_pgmq_1_5_1'), ('20251202000000', 'add_customers')"
    )
    last = "last migration 20251104080523_pgflow_upgrade_pgmq_1_5_1"
    _is_refused(dsn, rf"pgflow for TypeScript \(newer than 0\.8\.1, {last}\)", _DROP + _WORK)


def test_supabases_bookkeeping_may_be_closed_to_us(dsn: str) -> None:
    with plain_owner(dsn) as plain, psycopg.connect(dsn) as admin:
        disown(admin)
        admin.execute("grant usage on schema pgflow to public")
        admin.execute("create schema supabase_migrations create table schema_migrations (version text, name text)")
        admin.commit()
        with pytest.raises(
            SchemaError, match=r"pgflow for TypeScript \(newer than 0\.8\.1\) made.*nothing was changed"
        ):
            schema.migrate(plain)


def test_the_core_of_ex_pgflow_is_recognised_and_left_alone(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create table public.workflow_runs (id uuid)")
        conn.execute("create table public.workflow_step_states (id uuid)")
        conn.execute("create schema pgflow create table anything (id uuid)")
    _is_refused(empty_dsn, "Elixir's ex_pgflow", _DROP)


@pytest.mark.parametrize(
    "content",
    [
        "create table pgflow.flows (flow_slug text)",
        "create function pgflow.start_flow() returns int return 1",
        "create view pgflow.runs as select 1 as run_id",
    ],
)
def test_any_other_schema_of_the_name_is_left_alone(empty_dsn: str, content: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgflow")
        conn.execute(content)
    _is_refused(empty_dsn, "an unknown program", _DROP)


def test_what_is_not_in_the_pgflow_schema_is_not_asked_for(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create table public.workflow_runs (id uuid)")
        conn.execute("create table public.workflow_step_states (id uuid)")
    assert "0001_core" in schema.migrate(empty_dsn)
