"""What a task of a workload costs, counted, and the table of what it may cost."""

from __future__ import annotations

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


def count(conn: psycopg.Connection, workload: Workload, times: int = 2) -> Costs:
    """The least of several times, after a warm-up: nobody else's pages, plans or log."""
    workload(conn)
    return Costs(*map(min, zip(*(_once(conn, workload) for _ in range(times)), strict=True)))


def _once(conn: psycopg.Connection, workload: Workload) -> Costs:
    before = _counters(conn)
    statements, tasks = workload(conn)
    used = (after - earlier for after, earlier in zip(_counters(conn), before, strict=True))
    return Costs(*(each / tasks for each in (statements, *used)))


def _counters(conn: psycopg.Connection) -> tuple[float, float, float]:
    """Rows, pages and WAL until now."""
    conn.execute("select pg_stat_force_next_flush()")
    tables = "schemaname in ('pgflow', 'pgmq')"
    written = f"select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables where {tables}"
    kinds = [f"{part}_blks_{how}" for part in ("heap", "idx", "toast", "tidx") for how in ("hit", "read")]
    touched = (
        f"select sum({' + '.join(f'coalesce({kind}, 0)' for kind in kinds)}) from pg_statio_user_tables where {tables}"
    )
    wal = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
    return float(value(conn, written)), float(value(conn, touched)), float(value(conn, wal))


def keep_still(conn: psycopg.Connection) -> None:
    """No vacuum, no statistics and no checkpoint of its own shall fall into what is counted."""
    for (table,) in rows(conn, "select c.oid::regclass::text from pg_class c where relkind = 'r' and relnamespace in "
                               "('pgflow'::regnamespace, 'pgmq'::regnamespace)"):  # fmt: skip
        conn.execute(f"alter table {table} set (autovacuum_enabled = off)")
    conn.execute("checkpoint")


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
