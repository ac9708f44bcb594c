"""Which SQL functions the tests call, and which changes of status they see; only where PGFLOW_TEST_COVERAGE names a
directory (`make coverage`)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import psycopg
import pytest

_DIRECTORY = os.environ.get("PGFLOW_TEST_COVERAGE")
#: For tests of what stands in a database, where now triggers of the tests do.
untouched = pytest.mark.skipif(_DIRECTORY is not None, reason="what notes the changes of status stands there, too")

#: Written without a key: a conflict would make transactions wait for each other.
_WATCH = """
create schema coverage;
create unlogged table coverage.seen (what text);
create function coverage.note() returns trigger language plpgsql security definer set search_path to '' as $$
begin
  if tg_op = 'INSERT' or old.status <> new.status then
    insert into coverage.seen values (
      tg_table_name || ': ' || case tg_op when 'INSERT' then '[*]' else old.status end || ' -> ' || new.status);
  end if;
  return null;
end
$$;
create trigger coverage after insert or update of status on pgflow.runs for each row execute function coverage.note();
create trigger coverage after insert or update of status on pgflow.step_states
  for each row execute function coverage.note();
create trigger coverage after insert or update of status on pgflow.step_tasks
  for each row execute function coverage.note();
"""
_COLLECT = """
select 'function ' || funcname from pg_stat_user_functions where schemaname = 'pgflow' and calls > 0
union select what from coverage.seen
"""


def start(server: str) -> None:
    """From now on the server counts calls."""
    if _DIRECTORY:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute("alter system set track_functions = 'all'")
            admin.execute("select pg_reload_conf()")


def watch(dsn: str) -> None:
    """Has a migrated database note each change of a status."""
    if _DIRECTORY:
        with psycopg.connect(dsn) as connection:
            connection.execute(_WATCH)


def collect(connection: psycopg.Connection) -> None:
    """Keeps what was seen in a database, and forgets it there."""
    if _DIRECTORY:
        seen = [f"{what}\n" for (what,) in connection.execute(_COLLECT)]
        (Path(_DIRECTORY) / str(uuid.uuid4())).write_text("".join(seen))
        connection.execute("truncate coverage.seen")
        connection.execute("select pg_stat_reset()")
