"""Where we stand among our peers, measured side by side on a PostgreSQL of its own: see README.md.

.venv/bin/python benchmarks/run.py --engine ours --engine floor --workload fanout --rounds 1
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cluster
import redis_server
import results
import summary
import tables
from environments import NotAvailable
from measure import Failed, Store, describe, measure
from peers.harness import Scenario
from workloads import CONCURRENCY, DEFAULT, ENGINES, QUICK, QUICK_ENGINES, WORKLOADS


class Planned(NamedTuple):
    """A measurement to be made, and the file that it goes to."""

    part: results.Part
    engine: str
    scenario: Scenario
    round: int

    @property
    def key(self) -> dict[str, Any]:
        s = self.scenario
        return {
            "workload": s.workload, "engine": self.engine, "size": s.size, "workers": s.workers,
            "history": s.history, "round": self.round,
        }  # fmt: skip


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # however we are stopped, server and workers are to be stopped too
        signal.signal(number, signal.default_int_handler)
    given = _arguments()
    names = given.workload or (QUICK if given.quick else DEFAULT)
    engines = {name: _describe(name) for name in given.engine or (QUICK_ENGINES if given.quick else ENGINES)}
    source = results.source()
    parts = {name: results.Part(given.results, name, source, is_fresh=given.fresh) for name in names}
    missing = [
        one for name in names for one in _plan(parts[name], name, engines, given) if not one.part.settles(one.key)
    ]
    left = _measure_all(missing, engines, given) if missing else 0
    known = results.recall(given.results).get("engines", {}) | engines
    measured = [one for part in parts.values() for one in part.measurements]
    print(tables.text(summary.summarise(measured), known))
    if left:
        print(f"\n{left} measurements are left: the same command goes on with them", file=sys.stderr)
    # A peer that cannot do it is reported; that we cannot is an error.
    return 1 if any("failed" in one for one in measured if one["engine"] in ("ours", "floor")) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures py-pgflow and its peers side by side. What was measured is kept, and not measured again."
    )
    parser.add_argument("--engine", action="append", choices=ENGINES, help="(repeatable) default: all")
    parser.add_argument(
        "--workload", action="append", choices=list(WORKLOADS), help="(repeatable) default: all but those by hand"
    )
    parser.add_argument("--quick", action="store_true", help="a few of both, 2 rounds, measured anew")
    parser.add_argument("--rounds", type=int, help="measurements of each, engines taking turns (the workload's own)")
    parser.add_argument("--size", type=int, help="items, runs, or seconds of idling, instead of the workload's own")
    parser.add_argument("--history", type=int, help="finished tasks, where there are some (5,000,000)")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a measurement may take (300)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no measurement after so long")
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    parser.add_argument("--results", type=Path, metavar="DIR", help="where they are kept (benchmarks/results/full)")
    parser.add_argument("--directory", type=Path, help="where the server's files are put meanwhile (/tmp)")
    given = parser.parse_args()
    given.results = given.results or results.FOLDER / ("quick" if given.quick else "full")
    if given.quick:
        given.rounds, given.fresh = given.rounds or 2, True
    return given


def _describe(engine: str) -> dict[str, Any]:
    try:
        return {"available": True} | describe(engine)
    except NotAvailable as reason:
        print(f"{engine}: not available: {reason}", file=sys.stderr)
        return {"available": False, "reason": str(reason)}


def _plan(
    part: results.Part, name: str, engines: dict[str, dict[str, Any]], given: argparse.Namespace
) -> Iterator[Planned]:
    """A B C A B C: engines take turns in every round, so that a slow minute of the machine hits them all."""
    workload = WORKLOADS[name]
    for number in range(1, (given.rounds or workload.rounds) + 1):
        for engine, described in engines.items():
            if engine in workload.engines and described["available"] and workload.kind in described["kinds"]:
                for scenario in workload.scenarios(described, number, given.size or workload.size, given.history):
                    yield Planned(part, engine, scenario, number)


def _measure_all(planned: list[Planned], engines: dict[str, dict[str, Any]], given: argparse.Namespace) -> int:
    """Measures until all is done, time is up or somebody interrupts; returns how much is left."""
    begin, left = time.monotonic(), len(planned)
    with ExitStack() as stack:
        server = stack.enter_context(cluster.start(given.directory))
        stores: dict[str, Store] = {"postgres": server}
        if any(engines[one.engine]["store"] == "redis" for one in planned):
            stores["redis"] = stack.enter_context(redis_server.start())
        results.remember(given.results, _about(server, engines))
        try:
            for one in planned:
                if time.monotonic() - begin > given.minutes * 60:
                    break
                if not one.part.settles(one.key):
                    _measure(one, stores, engines[one.engine], given.limit)
                left -= 1
        except KeyboardInterrupt:
            print("interrupted: what was measured is kept", file=sys.stderr)
    return left


def _about(server: cluster.Cluster, engines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "postgres": server.settings(),
        "concurrency": CONCURRENCY,
        "source": results.source(),
        "engines": engines,
    }


def _measure(one: Planned, stores: dict[str, Store], described: dict[str, Any], limit: float) -> None:
    when = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "load": os.getloadavg()[0]}
    try:
        found = measure(stores[described["store"]], one.engine, described["has_worker"], one.scenario, limit)
    except Failed as failure:
        found = {"failed": str(failure)}
    one.part.add(one.key | when | found)
    said = found.get("failed") or f"{found['seconds']:.3f} s"
    s = one.scenario
    print(f"{s.workload} {one.engine} {s.size:,} x{s.workers} round {one.round}: {said}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
