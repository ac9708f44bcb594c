"""Where we stand among our peers, measured side by side on a PostgreSQL of its own: see README.md.

.venv/bin/python benchmarks/run.py --engine ours --engine floor --scenario fanout --rounds 1
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster
import report
from environments import NotAvailable
from measure import Failed, Scenario, describe, measure

#: How many handlers run at once in a worker process, for every engine that has such a setting.
CONCURRENCY = 100

ENGINES = ("ours", "floor", "pgflow", "pgqueuer", "procrastinate", "oban", "dbos", "absurd")
SIZES = {"fanout": 10_000, "runs": 1000, "latency1": 200, "latency3": 200, "scale": 2000, "idle": 15}
TITLES = {
    "fanout": "fanout: work on so many items, then count them",
    "runs": "runs: so many runs of 3 steps, started and worked off",
    "latency1": "latency1: from starting a run of 1 step to knowing its end, idle system",
    "latency3": "latency3: the same with 3 steps",
    "scale": "scale: items whose handlers wait 5 ms, 2 at a time per worker process",
    "idle": "idle: what a worker with nothing to do asks of the database",
}
#: What slow engines get of a fan-out.
_SLOW_SHARE = 10


def main() -> int:
    given = _arguments()
    engines = {name: _describe(name) for name in given.engine or ENGINES}
    measurements: list[dict[str, Any]] = []
    with cluster.start(given.directory) as server:
        settings = server.settings()
        try:
            for one in _measure_all(server, engines, given):
                measurements.append(one)  # noqa: PERF402  # what is there when somebody interrupts us is kept
        except KeyboardInterrupt:
            print("interrupted: this is what there is", file=sys.stderr)
    summary = report.summarise(measurements)
    result = {
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "postgres": settings,
        "settings": {"concurrency": CONCURRENCY, "rounds": given.rounds},
        "engines": engines,
        "measurements": measurements,
        "summary": summary,
    }
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    machine = f"{os.cpu_count()} CPUs, {', '.join(f'{name} {value}' for name, value in settings.items())}"
    print(machine, report.tables(summary, engines, TITLES), sep="\n")
    return 1 if any("failed" in one for one in measurements) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures py-pgflow and its peers side by side.")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="(repeatable) default: all")
    parser.add_argument("--scenario", action="append", choices=list(SIZES), help="(repeatable) default: all")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, engines taking turns (3)")
    parser.add_argument("--size", type=int, help="items, runs, or seconds of idling, instead of the scenario's own")
    parser.add_argument("--full", action="store_true", help="the whole fan-out for slow engines too, not a tenth")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a measurement may take (300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--directory", type=Path, help="where the server's files are put meanwhile (/tmp)")
    return parser.parse_args()


def _describe(engine: str) -> dict[str, Any]:
    try:
        return {"available": True} | describe(engine)
    except NotAvailable as reason:
        print(f"{engine}: not available: {reason}", file=sys.stderr)
        return {"available": False, "reason": str(reason), "keeps_results": None, "scenarios": []}


def _measure_all(
    server: cluster.Cluster, engines: dict[str, dict[str, Any]], given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """A B C A B C: engines take turns in every round, so that a slow minute of the machine hits them all."""
    for name in given.scenario or SIZES:
        hopeless = set()
        for number in range(1, given.rounds + 1):
            for engine, described in engines.items():
                if name not in described["scenarios"] or engine in hopeless:
                    continue
                for scenario in _variants(name, described, given):
                    one = _measure(server, engine, described["has_worker"], scenario, given.limit)
                    if "failed" in one:
                        hopeless.add(engine)
                    yield {"scenario": name, "workers": scenario.workers, "engine": engine, "round": number} | one
                    print(f"{name} {engine} round {number}: {_short(one)}", file=sys.stderr)


def _variants(name: str, described: dict[str, Any], given: argparse.Namespace) -> list[Scenario]:
    size = given.size or SIZES[name]
    if name == "fanout" and described["is_slow"] and not given.full:
        size = max(size // _SLOW_SHARE, 1)
    if name == "scale":
        return [Scenario(name, size, concurrency=2, workers=workers, delay=0.005) for workers in (1, 2, 4)]
    return [Scenario(name, size, CONCURRENCY)]


def _measure(
    server: cluster.Cluster, engine: str, has_worker: bool, scenario: Scenario, limit: float
) -> dict[str, Any]:
    try:
        return {"size": scenario.size} | measure(server, engine, has_worker, scenario, limit)
    except Failed as failure:
        return {"size": scenario.size, "failed": str(failure)}


def _short(one: dict[str, Any]) -> str:
    return one.get("failed") or f"{one['seconds']:.3f} s"


if __name__ == "__main__":
    sys.exit(main())
