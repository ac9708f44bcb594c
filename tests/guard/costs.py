"""What a task of a workload costs, counted, and the table of what it may cost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.support import rows, value

#: The table is part of this page, so that a number rises beside the line that says what for.
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"

Workload = Callable[[psycopg.Connection], tuple[int, int]]


class Costs(NamedTuple):
    """Per task: round trips; rows inserted, updated and deleted; pages of tables and indexes touched; bytes of WAL."""

    statements: float
    rows: float
    buffers: float
    wal_bytes: float

    def excess(self, allowed: Costs) -> list[str]:
        """What is dearer than it may be. Round trips and rows are always the same; pages and WAL hardly differ."""
        return [
            f"{name} {is_:g} instead of {may_be:g}"
            for name, is_, may_be in zip(self._fields, self, allowed, strict=True)
            if is_ > may_be * (1.10 if name in ("buffers", "wal_bytes") else 1.001)
        ]

    def rounded(self) -> Costs:
        return Costs(*(float(f"{cost:.4g}") for cost in self))


class Meter:
    """Counts what a connection's session does, and nobody else's: other tests may keep the server busy meanwhile."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        self._logged = 0.0
        if conn.info.server_version < 180000:
            self._listen_to_plans()

    def count(self, workload: Workload, times: int = 3) -> Costs:
        """The least of several times, after a warm-up that makes the plans."""
        workload(self._conn)
        return Costs(*map(min, zip(*(self._once(workload) for _ in range(times)), strict=True)))

    def _once(self, workload: Workload) -> Costs:
        before = self._counters()
        statements, tasks = workload(self._conn)
        used = (after - earlier for after, earlier in zip(self._counters(), before, strict=True))
        return Costs(*(each / tasks for each in (statements, *used)))

    def _counters(self) -> tuple[float, float, float]:
        """Rows, pages and WAL until now. The tables are a database's own, the WAL is a session's."""
        self._conn.execute("select pg_stat_force_next_flush()")
        written, touched = rows(self._conn, _TABLES)[0]
        return float(written), float(touched), self._wal_bytes()

    def _wal_bytes(self) -> float:
        if self._conn.info.server_version < 180000:
            return self._logged
        return float(value(self._conn, "select wal_bytes from pg_stat_get_backend_wal(pg_backend_pid())"))

    def _listen_to_plans(self) -> None:
        """Before PostgreSQL 18 only plans tell the WAL of one session; without the records of its commits."""
        self._conn.execute("load 'auto_explain'")
        for setting, to in {
            "client_min_messages": "log",
            "auto_explain.log_format": "json",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_timing": "off",
            "auto_explain.log_wal": "on",
            "auto_explain.log_min_duration": "0",
        }.items():
            self._conn.execute(f"set {setting} = {to}")
        self._conn.add_notice_handler(self._note)

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found:
            self._logged += json.loads(plan)["Plan"]["WAL Bytes"]


_KINDS = [f"coalesce(io.{part}_blks_{how}, 0)" for part in ("heap", "idx", "toast", "tidx") for how in ("hit", "read")]
_TABLES = f"""
select sum(t.n_tup_ins + t.n_tup_upd + t.n_tup_del), sum({" + ".join(_KINDS)})
  from pg_stat_user_tables t join pg_statio_user_tables io using (relid)
 where t.schemaname in ('pgflow', 'pgmq')
"""


def keep_still(conn: psycopg.Connection) -> None:
    """No vacuum and no statistics shall fall into what is counted."""
    in_ours = "relkind = 'r' and relnamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace)"
    for (table,) in rows(conn, f"select oid::regclass::text from pg_class where {in_ours}"):
        conn.execute(f"alter table {table} set (autovacuum_enabled = off)")


# ---------------------------------------------------------------------------------------- the table

_LINE = "| {} | {} | {:.6g} | {:.6g} | {:.6g} | {:.6g} |\n"
_CELLS = re.compile(r"^\| (\w+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|\n", re.MULTILINE)


def allowed(page: str, version: int) -> dict[str, Costs]:
    """What the page's table allows each workload on this major version of PostgreSQL."""
    return {
        workload: Costs(*map(float, costs)) for workload, major, *costs in _CELLS.findall(page) if int(major) == version
    }


def rewritten(page: str, version: int, counted: dict[str, Costs]) -> str:
    """The page with this version's lines in its table replaced, in order."""
    known = {(w, int(major)): Costs(*map(float, costs)) for w, major, *costs in _CELLS.findall(page)}
    known |= {(workload, version): costs.rounded() for workload, costs in counted.items()}
    order = list(counted)
    lines = [_LINE.format(*key, *known[key]) for key in sorted(known, key=lambda key: (order.index(key[0]), key[1]))]
    begin = re.search(r"^\| workload .*\n\|[-:| ]+\|\n", page, re.MULTILINE)
    assert begin is not None, "the page has no table"
    rest = _CELLS.sub("", page[begin.end() :])
    return page[: begin.end()] + "".join(lines) + rest
