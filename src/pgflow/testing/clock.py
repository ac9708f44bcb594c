"""A clock that a test moves: time passes by putting back every time that is stored."""

from __future__ import annotations

from datetime import timedelta

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from pgflow.client.arguments import are_seconds

#: All that tell a time, but for those of workers: their heartbeats go on by the real clock.
_TIMES = r"""
select n.nspname, c.relname, array_agg(a.attname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relkind in ('r', 'p') and a.atttypid = 'timestamptz'::regtype
   and (n.nspname = 'pgflow' and c.relname not in ('workers', 'schedule_slots')
        or n.nspname = 'pgmq' and c.relname like 'q\_%')
 group by n.nspname, c.relname
"""
#: Cron reads the clock on the wall, which does not move: a slot that was fired may come again.
_FORGET_SLOTS = """
delete from pgflow.schedule_slots;
update pgflow.runs set idempotency_key = idempotency_key || ' ' || run_id where idempotency_key like 'schedule:%';
"""


class Clock:
    """Puts the clock of a database forward, for what is stored there.

        clock.advance(3600)        # what was to begin within an hour may begin now

    For retries, start delays, `at=`, `delay=` and schedules. Leases lapse, too: move it while no worker works.
    A schedule's slots are still those of the real calendar: moved by a day, a daily schedule is due once.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        """`connection` is in autocommit, and may do as it likes."""
        self._connection = connection

    def advance(self, by: float | timedelta) -> None:
        """Lets so many seconds pass at once."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not are_seconds(seconds):
            raise ValueError(f"a clock goes forward only: advance by 0 seconds or more, not {seconds!r}")
        with self._connection.transaction():
            for schema, table, columns in self._connection.execute(_TIMES).fetchall():
                self._connection.execute(_putting_back(Identifier(schema, table), columns, seconds))
            if self._connection.execute("select to_regclass('pgflow.schedule_slots')").fetchone() != (None,):
                self._connection.execute(_FORGET_SLOTS)  # a core that is not ours has none


def _putting_back(table: Identifier, columns: list[str], seconds: float) -> Composed:
    back = SQL("{0} = {0} - make_interval(secs => {1})")
    changes = [back.format(Identifier(column), Literal(seconds)) for column in columns]
    return SQL("update {} set {}").format(table, SQL(", ").join(changes))
