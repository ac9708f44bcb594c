"""Writes docs/explanation/benchmarks.md and its charts from what `run.py` has kept.

.venv/bin/python benchmarks/report.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import charts
import results
import summary
import tables
from guarantees import GUARANTEES, Guarantees
from workloads import DEFAULT, WORKLOADS

_PAGE = "benchmarks.md"

#: File, title, workload, column, digits.
_CHARTS = (
    ("benchmark-fanout.svg", "Fan-out: tasks per second", "fanout", "tasks_per_second", 0),
    ("benchmark-fanout-cpu.svg", "Fan-out: CPU of the database, ms per task", "fanout", "database_cpu_ms_per_task", 3),
    ("benchmark-runs.svg", "Runs of 3 steps: tasks per second", "runs", "tasks_per_second", 0),
    ("benchmark-latency1.svg", "Latency of a run of 1 step, idle system: median, ms", "latency1", "p50_ms", 1),
    ("benchmark-latency3.svg", "Latency of a run of 3 steps, idle system: median, ms", "latency3", "p50_ms", 1),
)

_HEAD = """\
# Benchmarks

Written by `make bench-report` from what `make bench` measured; [the harness](../../benchmarks/README.md) says what each
engine does in a workload, what is in its favour, and what cannot be compared.
"""

_HOW_TO_READ = """\
## How to read it

- *floor* is no engine: it writes the rows of our fan-out by plain SQL in batches of 1,000, judges and recovers nothing,
  and is what PostgreSQL itself needs. A task is an item of a fan-out or a step of a run.
- Medians over the rounds, with the fastest and the slowest; engines took turns in every round (A B C, A B C). Wall
  times differ by half from run to run on a small shared machine: a ratio below 1.5 is no difference, and says *same*.
- Counts are steadier: CPU of all processes of the database and of the worker (from `/proc`), transactions that wrote
  (commits), rows inserted, updated and deleted, pages touched (buffers), bytes of the log (WAL), all per task.
  Rows and buffers include connecting and a warm-up: of 5 items, where worker processes are compared of 100 for each.
- Latency is told twice: until a client knows that its run has ended (*p50* and so on), and until its last handler has
  run (*ran*). Where results are not kept a client knows no more than the latter: by that column such engines compare.
- Engines below 1,000 tasks a second get a tenth of the items in every round, and all of them once.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes the page about the benchmarks, and its charts.")
    parser.add_argument("--results", type=Path, metavar="DIR", default=results.FOLDER / "full")
    parser.add_argument("--to", type=Path, metavar="DIR", default=results.ROOT / "docs" / "explanation")
    given = parser.parse_args()
    about = results.recall(given.results)
    measured = results.read(given.results, about["source"]) if about else []
    if not measured:
        print(f"nothing was measured yet in {given.results}: run `make bench` first", file=sys.stderr)
        return 1
    given.to.mkdir(parents=True, exist_ok=True)
    for name, text in files(about, measured):
        (given.to / name).write_text(text)
    print(f"wrote {given.to / _PAGE}")
    return 0


def files(about: dict[str, Any], measured: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The charts and the page, each with its name."""
    rows = summary.summarise(measured)
    drawn = [(name, drawing) for name, *what in _CHARTS if (drawing := _chart(rows, *what))]
    yield from drawn
    figures = [f"![{name.removesuffix('.svg')}]({name})" for name, _ in drawn]
    parts = [
        _HEAD, _circumstances(about, measured), *figures, _HOW_TO_READ, _guarantees(), "## Measured", *_tables(rows),
        _missing(about, rows),
    ]  # fmt: skip
    yield _PAGE, "\n\n".join(part.strip() for part in parts if part) + "\n"


def _chart(rows: list[summary.Row], title: str, workload: str, column: str, digits: int) -> str | None:
    """A bar per engine, of the largest size that it did; the best first."""
    largest: dict[str, summary.Row] = {}
    for row in tables.rows_of(rows, WORKLOADS[workload]):
        if row.get(column) is not None and row["size"] >= largest.get(row["engine"], row)["size"]:
            largest[row["engine"]] = row
    if not largest:
        return None
    found = sorted(largest.values(), key=lambda row: row[column], reverse=column == "tasks_per_second")
    shown = tables.number(column, digits)
    return charts.bars(title, [charts.Bar(row["engine"], row[column], shown(row)) for row in found])


def _circumstances(about: dict[str, Any], measured: list[dict[str, Any]]) -> str:
    machine, when = about["machine"], sorted(one["at"] for one in measured)
    settings = ", ".join(f"{name} {value}" for name, value in about["postgres"].items() if name != "server_version")
    versions = [
        [name, engine["version"], engine["python"]] for name, engine in about["engines"].items() if engine["available"]
    ]
    return f"""\
## Where and with what

- Measured from {when[0]} to {when[-1]}, on {machine["cpus"]} CPUs, {machine["platform"]}.
- {_load([one["load"] for one in measured], machine["cpus"])}
- PostgreSQL {about["postgres"]["server_version"]}, with {settings}.
- Client, worker and server are separate processes, one worker process unless said otherwise, {about["concurrency"]}
  handlers at once for every engine that has such a setting.
- Our sources: `{about["source"]}`, a hash that the harness computes.

{tables.markdown([["engine", "version", "Python"], *versions], numbers=False)}"""


def _load(loads: list[float], cpus: int) -> str:
    said = f"Load average of the machine before each measurement: {min(loads):.1f} to {max(loads):.1f}."
    if max(loads) <= 2 * cpus:
        return said
    return f"""{said} **The machine was busy with other things:
  wall times and latencies are not final, nor are their ratios.**"""


def _guarantees() -> str:
    titles = ["engine", *(name.replace("_", " ") for name in Guarantees._fields)]
    return f"""\
## What each does for a task

*Results*: is what a handler returns kept? *Retries*: does a failed task run again by default? *Recovery*: does a task
come back after its worker was killed with kill -9, and how is that noticed? *Fenced*: can a worker that was given up
for dead, but is not, no longer settle it? *Dag*: can a task wait for several others and get what they returned?

{tables.markdown([titles, *([name, *each] for name, each in GUARANTEES.items())], numbers=False)}"""


def _tables(rows: list[summary.Row]) -> Iterator[str]:
    for name, workload in WORKLOADS.items():
        found = tables.rows_of(rows, workload)
        if not found and name in DEFAULT:
            yield f"### {name}\n\nNot measured yet."
        elif found:
            yield f"### {name}: {workload.title}\n\n{tables.markdown(tables.cells(workload, found))}{_asked(found)}"


def _asked(rows: list[summary.Row]) -> str:
    """What an idle worker of ours asked."""
    for row in rows:
        if row["engine"] == "ours" and "statements" in row:
            asked = ", ".join(f"{count} × `{text}`" for text, count in row["statements"].items())
            return f"\n\nOurs asked in {row['seconds']:.0f} s: {asked}."
    return ""


def _missing(about: dict[str, Any], rows: list[summary.Row]) -> str:
    absent = tables.missing(rows, about["engines"])
    return "\n".join(
        ["## What could not be measured", "", *(f"- {line}" for line in absent or ["Nothing of what was tried."])]
    )


if __name__ == "__main__":
    sys.exit(main())
