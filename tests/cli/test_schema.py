"""`pgflow migrate`."""

from __future__ import annotations

import psycopg

from tests.support import value


def test_migrate_installs_and_then_has_nothing_to_do(cli, empty_dsn):
    first, second = cli("migrate", "--dsn", empty_dsn), cli("migrate", "--dsn", empty_dsn)
    assert (first.code, second.code) == (0, 0)
    assert "is up to date now: " in first.out
    assert second.out.endswith("is up to date\n")
    with psycopg.connect(empty_dsn) as conn:
        assert value(conn, "select count(*) from pgflow.flows") == 0


def test_migrate_sql_prints_and_changes_nothing(cli, empty_dsn):
    said = cli("migrate", "--sql", "--dsn", empty_dsn)
    assert said.code == 0
    assert said.out.startswith("begin;")
    with psycopg.connect(empty_dsn) as conn:
        assert value(conn, "select count(*) from pg_namespace where nspname in ('pgflow', 'pgmq')") == 0
        conn.execute(said.out.removeprefix("begin;").rstrip().removesuffix("commit;"))
        assert value(conn, "select count(*) from pgflow.flows") == 0


def test_migrate_sql_without_a_database_prints_everything(cli):
    assert "create table pgflow.runs" in cli("migrate", "--sql").out


def test_commands_refuse_a_database_that_is_not_migrated(cli, empty_dsn):
    said = cli("runs", "--dsn", empty_dsn)
    assert said.code == 2
    assert said.err == "pgflow: the database has no pgflow schema yet: run `pgflow migrate`\n"


def test_commands_refuse_a_schema_that_is_not_ours(cli, empty_dsn):
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgflow create table flows (flow_slug text)")
    for command in (["runs"], ["migrate"], ["migrate", "--sql"]):
        said = cli(*command, "--dsn", empty_dsn)
        assert (said.code, said.out) == (2, "")
        assert said.err == (
            "pgflow: the database already has a pgflow schema that an unknown program made, and not py-pgflow; "
            "nothing was changed: use another database, or drop that schema if it may go "
            "(`drop schema pgflow cascade`)\n"
        )


def test_commands_refuse_a_database_that_is_too_new(cli, dsn, conn):
    conn.execute("insert into pgflow.schema_migrations (number, name) values (9999, '9999_later')")
    for command in (["runs"], ["migrate"]):
        said = cli(*command, "--dsn", dsn)
        assert said.code == 2
        assert "is at version 9999, newer than this code knows" in said.err
        assert "pip install -U py-pgflow" in said.err
