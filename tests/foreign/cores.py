"""Databases with a core that is not ours, or looks so."""

from __future__ import annotations

from pathlib import Path

import psycopg
from pgmq.install import get_embedded_install_sql

#: Supabase's: what was sent is kept, and announced to those who listen (tests/foreign/supabase.mjs).
REALTIME = """
create schema realtime;
create table realtime.sent (id bigint generated always as identity primary key, payload jsonb, event text, topic text);
create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void language sql as
  $$ insert into realtime.sent (payload, event, topic) values ($1, $2, $3);
     select pg_notify('realtime', jsonb_build_object('topic', $3, 'event', $2, 'payload', $1)::text) $$;
"""
#: pgmq is there by then, though not as an extension.
_DROPPED = ('CREATE EXTENSION IF NOT EXISTS "pgmq" WITH SCHEMA "pgmq";', 'CREATE SCHEMA IF NOT EXISTS "pgmq";')


def install_pgflow(connection: psycopg.Connection, migrations: list[Path]) -> None:
    """pgflow's own core into an empty database that has `realtime.send`."""
    connection.execute(get_embedded_install_sql())
    for migration in migrations:
        text = migration.read_text()
        for dropped in _DROPPED:
            text = text.replace(dropped, "")
        connection.execute(text)


def disown(connection: psycopg.Connection) -> None:
    """Makes our core look like pgflow's 0.14, whose contract it keeps: all that tells them apart is our bookkeeping."""
    connection.execute("drop table pgflow.schema_migrations, pgflow.schema_functions")
