"""Small stand-ins for Supabase's schemas: they record what they are called with."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg

from pgflow import schema
from tests.support import rows, value

LOCAL_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"

_REALTIME = """
create schema realtime;
create table realtime.sent (
  n bigint generated always as identity, payload jsonb, event text, topic text, private boolean
);
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language sql as $$
  insert into realtime.sent (payload, event, topic, private) values ($1, $2, $3, $4)
$$;
"""

_NET = """
create schema net;
create table net.posted (
  id bigint generated always as identity (start with 100), url text, body jsonb, params jsonb, headers jsonb
);
create function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds int default 5000
) returns bigint language sql as $$
  insert into net.posted (url, body, params, headers) values ($1, $2, $3, $4) returning id
$$;
"""

_VAULT = """
create schema vault;
create table vault.decrypted_secrets (name text, decrypted_secret text);
"""

_CRON = """
create schema cron;
create table cron.job (
  jobid bigint generated always as identity, jobname text unique, schedule text, command text
);
create table cron.job_run_details (jobid bigint, end_time timestamptz);
create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
  insert into cron.job (jobname, schedule, command) values ($1, $2, $3) returning jobid
$$;
create function cron.unschedule(job_name text) returns boolean language plpgsql as $$
begin
  delete from cron.job where jobname = job_name;
  if not found then
    raise exception 'could not find valid entry for job ''%''', job_name;
  end if;
  return true;
end
$$;
"""


def add_realtime(conn: psycopg.Connection) -> None:
    """A `realtime.send` that records its calls."""
    conn.execute(_REALTIME)


def add_supabase(dsn: str) -> None:
    """Schemas net, vault and cron; then migrates, as an install on Supabase would."""
    with psycopg.connect(dsn) as conn:
        conn.execute(_NET + _VAULT + _CRON)
    schema.migrate(dsn)


def sent(conn: psycopg.Connection, run_id: uuid.UUID | None = None) -> list[str]:
    """The names of the recorded events, in order; of one run or of all."""
    sql = "select event from realtime.sent where %s::uuid is null or topic = 'pgflow:run:' || %s order by n"
    return [event for (event,) in rows(conn, sql, run_id, run_id)]


def payload(conn: psycopg.Connection, event: str) -> dict[str, Any]:
    """The payload of the one event of this name."""
    found = rows(conn, "select payload from realtime.sent where event = %s", event)
    assert len(found) == 1, f"{event} was sent {len(found)} times"
    payload: dict[str, Any] = found[0][0]
    return payload


def forget_events(conn: psycopg.Connection) -> None:
    """What follows is recorded alone."""
    conn.execute("truncate realtime.sent")


def json_time(conn: psycopg.Connection, time: Any) -> str:
    """A timestamp as PostgreSQL prints it in JSON."""
    return str(value(conn, "select to_jsonb(%s::timestamptz) #>> '{}'", time))
