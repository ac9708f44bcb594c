"""Where a busy worker's time goes: in Python (pyinstrument), in the database (pg_stat_statements, auto_explain).

    scripts/with_postgres.sh 15 .venv/bin/python benchmarks/profiler.py

PGFLOW_TEST_DSN names a server that may be restarted and thrown away, with PostgreSQL's contributed modules.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import psycopg
import tables
from measure import spawn
from peers.harness import Scenario
from psycopg.conninfo import make_conninfo
from workloads import WORKLOADS

_FOLDER = Path(__file__).parent / "profiles"
_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements, auto_explain",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}
_COUNT = {"pg_stat_statements.track": "all"}
_EXPLAIN = {
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
}
_SECONDS = 300
#: Statements and plans that are shown, and characters of a statement.
_MOST, _TEXT = 40, 150
#: Of the size: every plan is written to the log.
_EXPLAINED_SHARE = 10

_STATEMENTS = """
select case when toplevel then 'call' else 'inner' end, round(total_exec_time)::int, calls,
       round((total_exec_time / calls)::numeric, 3), round(rows::numeric / calls, 1),
       round((shared_blks_hit + shared_blks_read)::numeric / calls, 1), round(wal_bytes / calls),
       regexp_replace(query, '\\s+', ' ', 'g')
  from pg_stat_statements s join pg_database d on d.oid = s.dbid
 where d.datname = current_database() and query !~* '^(create|alter|set|listen)'
 order by total_exec_time desc limit %s
"""
_TITLES = ["", "ms in all", "calls", "ms", "rows", "buffers", "WAL B"]

_ENTRY = re.compile(r"LOG:  duration: ([\d.]+) ms  plan:\n((?:\t.*\n)+)")
_PLAN = re.compile(r"^\t\S[^\n]*\(cost=", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description="Profiles a worker and the database under one of the workloads.")
    parser.add_argument("--workload", choices=list(WORKLOADS), default="fanout")
    parser.add_argument("--size", type=int, default=20_000, help="items, or runs (20,000)")
    parser.add_argument("--to", type=Path, metavar="DIR", default=_FOLDER)
    given = parser.parse_args()
    if "PGFLOW_TEST_DSN" not in os.environ:
        parser.error("PGFLOW_TEST_DSN must name a server that may be restarted: use `make profile`")
    given.to.mkdir(parents=True, exist_ok=True)
    session, server = given.to / "worker.pyisession", os.environ["PGFLOW_TEST_DSN"]
    workload = WORKLOADS[given.workload]
    scenario = Scenario(
        workload=workload.name, kind=workload.kind, size=given.size, steps=workload.steps,
        concurrency=workload.concurrency, delay=workload.delay, element_bytes=workload.element_bytes,
    )  # fmt: skip

    log = _restart(server)
    dsn = _database(server, "profiled", _COUNT)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create extension pg_stat_statements")
    took = _work(dsn, scenario, under=("-m", "pyinstrument", "-r", "pyisession", "-o", str(session)))
    said = f"{workload.name}, {given.size:,}: {took:.2f} s under pyinstrument\n\n"
    (given.to / "worker.txt").write_text(said + _rendered(session))
    (given.to / "worker-flat.txt").write_text(said + _rendered(session, "-p", "flat=true"))
    with psycopg.connect(dsn) as connection:
        (given.to / "statements.txt").write_text(said + _statements(connection))

    dsn = _database(server, "explained", _EXPLAIN)
    _work(dsn, replace(scenario, size=max(given.size // _EXPLAINED_SHARE, 1)))
    (given.to / "plans.txt").write_text(_plans(log.read_text(errors="replace")))
    for name in ("worker.txt", "worker-flat.txt", "statements.txt", "plans.txt"):
        print(given.to / name)
    return 0


def _restart(server: str) -> Path:
    """Starts the server anew, durable and with the modules loaded; returns its new log."""
    with psycopg.connect(server, autocommit=True) as connection:
        for name, value in _SETTINGS.items():
            connection.execute(f"alter system set {name} = {value}")
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    data = Path(row[0])
    postmaster = (data / "postmaster.pid").read_text().splitlines()[0]
    pg_ctl = Path(f"/proc/{postmaster}/exe").resolve().with_name("pg_ctl")
    owner, log = data.stat(), data.with_name("profile.log")
    asked = [pg_ctl, "restart", "-D", data, "-l", log, "-m", "fast", "-w", "-s"]
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(asked, check=True, cwd="/", **as_owner)
    return log


def _database(server: str, name: str, settings: dict[str, str]) -> str:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        for setting, value in settings.items():
            connection.execute(f"alter database {name} set {setting} = '{value}'")
    return make_conninfo(server, dbname=name)


def _work(dsn: str, scenario: Scenario, under: tuple[str, ...] = ()) -> float:
    """Seconds that a client and a worker need; `under` is as in `spawn`."""
    python, given = Path(sys.executable), (dsn, json.dumps(asdict(scenario)))
    with spawn(python, "ours", "prepare", dsn) as process:
        process.end(_SECONDS)
    ends = os.pipe()
    with ExitStack() as stack:
        worker = stack.enter_context(spawn(python, "ours", "work", *given, tally=ends, under=under))
        worker.expect_ready()
        client = stack.enter_context(spawn(python, "ours", "client", *given, tally=ends))
        client.line(_SECONDS)
        client.go()
        took: float = json.loads(client.line(_SECONDS))["seconds"]
    for end in ends:
        os.close(end)
    return took


def _rendered(session: Path, *options: str) -> str:
    asked = [sys.executable, "-m", "pyinstrument", "--load", str(session), "-r", "text", "--no-color", *options]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout


def _statements(connection: psycopg.Connection) -> str:
    found = connection.execute(_STATEMENTS, (_MOST,)).fetchall()
    numbers = tables.aligned([_TITLES, *([str(cell) for cell in row[:-1]] for row in found)])
    texts = ["statement", "", *(row[-1].strip()[:_TEXT] for row in found)]
    lines = [f"{line}  {text}".rstrip() for line, text in zip(numbers, texts, strict=True)]
    note = "Per call, but for the first number. What a function runs inside (inner) is part of its call too."
    return "\n".join([note, "", *lines, ""])


class _Explained(NamedTuple):
    """An execution of a statement, as auto_explain logged it."""

    milliseconds: float
    query: str
    plan: str


def _plans(log: str) -> str:
    """The statements that took longest in all, each with the plan of its slowest execution."""
    by_query: dict[str, list[_Explained]] = {}
    for one in _explained(log):
        by_query.setdefault(one.query, []).append(one)
    costliest = sorted(by_query.values(), key=lambda all_: -sum(one.milliseconds for one in all_))
    parts = []
    for executions in costliest[:_MOST]:
        slowest = max(executions)
        total = sum(one.milliseconds for one in executions)
        parts.append(f"{total:.1f} ms in {len(executions)} executions; the slowest, {slowest.milliseconds:.1f} ms:\n\n")
        parts.append(f"{slowest.query}\n{slowest.plan}\n{'-' * 100}\n")
    return "".join(parts)


def _explained(log: str) -> Iterable[_Explained]:
    for milliseconds, body in _ENTRY.findall(log):
        if begin := _PLAN.search(body):
            yield _Explained(float(milliseconds), body[: begin.start()].replace("\n\t", "\n"), body[begin.start() :])


if __name__ == "__main__":
    sys.exit(main())
