"""Dumps of older versions, brought back as if they had been taken just now."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from tests.support import rows

DUMPS = sorted(Path(__file__).parent.glob("*.sql"))

_TIMES = """
select n.nspname, c.relname, array_agg(a.attname::text)
  from pg_namespace n join pg_class c on c.relnamespace = n.oid and c.relkind = 'r'
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'timestamptz'::regtype
 where n.nspname in ('pgflow', 'pgmq') and not a.attisdropped
 group by 1, 2
"""


def restore(dsn: str, dump: Path) -> None:
    """Fills an empty database. Leases have as long to go, messages are hidden as long, as when the dump was taken."""
    text = dump.read_text(encoding="utf-8")
    taken = re.match("-- taken at (.*)\n", text)
    assert taken is not None
    with psycopg.connect(dsn) as conn:
        conn.execute(text)
        conn.execute("create temp table age as select clock_timestamp() - %s::timestamptz as age", taken.groups())
        for schema, table, columns in rows(conn, _TIMES):
            later = SQL(", ").join(SQL("{0} = {0} + age").format(Identifier(c)) for c in columns)
            conn.execute(SQL("update {} set {} from age").format(Identifier(schema, table), later))
