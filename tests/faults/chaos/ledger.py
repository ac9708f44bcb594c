"""What handlers did, as they say themselves, on a server of its own that nothing happens to."""

from __future__ import annotations

import os
import threading
from uuid import uuid4

import psycopg

from pgflow import Context

TABLE = """
create table ledger (
  run_id uuid, step_slug text, task_index int, attempt int, token uuid primary key, pid int, fails boolean,
  at timestamptz default clock_timestamp());
create index on ledger (run_id, step_slug, task_index);
"""


class Ledger:
    """A connection of the worker's process to the ledger, in autocommit."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._lock = threading.Lock()

    def note(self, ctx: Context, fails: bool) -> str:
        """Writes that an attempt has begun; returns its token, which goes into the attempt's output."""
        token = str(uuid4())
        with self._lock:
            self._connection.execute(
                "insert into ledger values (%s, %s, %s, %s, %s, %s, %s)",
                [ctx.run_id, ctx.step_slug, ctx.task_index, ctx.attempt, token, os.getpid(), fails],
            )
        return token

    def close(self) -> None:
        self._connection.close()


_ledgers: dict[str, Ledger] = {}
_opening = threading.Lock()


def ledger() -> Ledger:
    """The process's own, at CHAOS_LEDGER."""
    with _opening:
        dsn = os.environ["CHAOS_LEDGER"]
        if dsn not in _ledgers:
            _ledgers[dsn] = Ledger(dsn)
        return _ledgers[dsn]
