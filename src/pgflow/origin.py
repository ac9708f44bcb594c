"""Whose `pgflow` schema it is that is not ours: looked up only to say so in an error.

TypeScript's core keeps no version of its own. Where Supabase's command line installed it, that remembers the
migrations; otherwise the version is bounded by what the schema has.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import Connection

#: The tables that pgflow has had from its first version on.
_TYPESCRIPT = {"flows", "steps", "deps", "runs", "step_states", "step_tasks"}
#: Tables of ex_pgflow, as far as we know it: it calls flows workflows, and keeps them where its Ecto repository does.
_ELIXIR = {"workflow_runs", "workflow_step_states"}

#: What only later versions have, newest first: columns, and results of functions.
_SINCE = (
    ("steps.required_input_pattern", "newer than 0.8.1"),
    ("step_task_record.flow_input", "newer than 0.8.1"),
    ("set_vt_batch.headers", "about 0.8"),
)

_LOOK = """
select array(select relname::text from pg_class where relnamespace = 'pgflow'::regnamespace and relkind = 'r'),
       array(select relname::text from pg_class where relkind = 'r' and relname like 'workflow%'),
       array(select c.relname || '.' || a.attname
               from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
              where c.relnamespace = 'pgflow'::regnamespace
              union all
             select p.proname || '.' || result
               from pg_proc p, unnest(p.proargnames) as result
              where p.pronamespace = 'pgflow'::regnamespace)
"""

#: Supabase's file names: a time of its own, and then the name that pgflow gave, which begins with pgflow's.
_LAST_MIGRATION = """
select max(substring(version || '_' || name from '[0-9]{14}_pgflow_.*')) from supabase_migrations.schema_migrations
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a schema, in words; and whether a worker can serve it through pgflow's single-task functions."""

    name: str
    can_be_worked: bool


def find_origin(connection: Connection) -> Origin:
    """Who made the database's `pgflow` schema, which is not ours.

    find_origin(connection).name         # 'pgflow for TypeScript (about 0.8)'
    """
    ((tables, workflow_tables, names),) = connection.execute(_LOOK).fetchall()
    if set(tables) >= _TYPESCRIPT:
        version = next((version for name, version in _SINCE if name in names), "older than 0.8")
        last = _last_migration(connection)
        return Origin(f"pgflow for TypeScript ({version}{f', last migration {last}' if last else ''})", True)
    if set(workflow_tables) >= _ELIXIR:
        return Origin("Elixir's ex_pgflow", False)
    return Origin("an unknown program", False)


def _last_migration(connection: Connection) -> str | None:
    """What Supabase's command line applied last of pgflow; None where it was not used, or may not be asked."""
    try:
        with connection.transaction():
            row = connection.execute(_LAST_MIGRATION).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row is not None else None
