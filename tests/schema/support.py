"""What is in a database, and roles that may do less than its owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from tests.support import rows, value

_OBJECTS = """
select 'class', c.relkind::text, c.oid::regclass::text, coalesce(pg_get_viewdef(c.oid), ''),
       (select string_agg(concat_ws(' ', a.attname, a.atttypid::regtype, a.attnotnull,
                                    pg_get_expr(d.adbin, d.adrelid)), ', ' order by a.attnum)
          from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where a.attrelid = c.oid and a.attnum > 0)
  from pg_class c where c.relnamespace::regnamespace::text in ('pgflow', 'pgmq') and c.relkind <> 'i'
union all
select 'index', '', indexname, indexdef, null from pg_indexes where schemaname in ('pgflow', 'pgmq')
union all
select 'function', '', p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text
  from pg_proc p where p.pronamespace::regnamespace::text in ('pgflow', 'pgmq') and p.prokind = 'f'
union all
select 'constraint', contype::text, conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid), null
  from pg_constraint where connamespace::regnamespace::text in ('pgflow', 'pgmq')
union all
select 'schema', '', nspname, nspacl::text, null from pg_namespace where nspname !~ '^pg_(toast|temp)'
"""


def objects(dsn: str) -> set[tuple[str, ...]]:
    """Everything that a database holds of ours and of pgmq, with its definition."""
    with psycopg.connect(dsn) as conn:
        return set(rows(conn, _OBJECTS))


def is_installed(dsn: str) -> bool:
    """Whether there is a schema of ours, whatever is in it."""
    with psycopg.connect(dsn) as conn:
        return bool(value(conn, "select to_regnamespace('pgflow') is not null"))


@contextmanager
def plain_owner(dsn: str) -> Iterator[str]:
    """The address of a database for a role that owns it, and may otherwise do nothing."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        name = value(admin, "select current_database()")
        role = f"owner_of_{name}"
        admin.execute(f"create role {role} login password 'plain'")
        admin.execute(f"alter database {name} owner to {role}")
        try:
            yield make_conninfo(dsn, user=role, password="plain")
        finally:
            admin.execute(f"alter database {name} owner to current_user")
            admin.execute(f"drop owned by {role} cascade")
            admin.execute(f"drop role {role}")
