"""From single measurements to medians and ratios."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from workloads import WORKLOADS

Row = dict[str, Any]

_KEY = ("workload", "engine", "size", "workers", "history")
COSTS = ("database_cpu_ms", "buffers", "rows", "wal_bytes", "commits", "worker_cpu_ms")
_MEDIANS = ("start_seconds", *(f"{cost}_per_task" for cost in COSTS), "statements_per_second", "connections")
#: Costs so small that their ratio says nothing.
_LEAST = 1e-4


def summarise(measurements: Sequence[dict[str, Any]]) -> list[Row]:
    """One row per workload, engine, size, number of workers and history: medians over the rounds, and ratios."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in measurements:
        groups.setdefault(tuple(one[name] for name in _KEY), []).append(one)
    rows = [_row(dict(zip(_KEY, key, strict=True)), group) for key, group in groups.items()]
    for row in rows:
        row |= _ratios(row, rows)
    return rows


def _row(key: dict[str, Any], group: list[dict[str, Any]]) -> Row:
    row = key | {"rounds": len(group)}
    if failures := [one["failed"] for one in group if "failed" in one]:
        return row | {"failed": failures[0]}
    seconds = [one["seconds"] for one in group]
    row |= {"seconds": median(seconds), "fastest": min(seconds), "slowest": max(seconds)}
    row |= {name: median(one[name] for one in group) for name in _MEDIANS if group[0].get(name) is not None}
    if "tasks" in group[0]:
        row["tasks_per_second"] = median(one["tasks"] / one["seconds"] for one in group)
    if "latencies" in group[0]:
        row |= _percentiles(group)
    if "statements" in group[0]:
        row["statements"] = dict(sum((Counter(one["statements"]) for one in group), Counter()).most_common())
    return row


def _percentiles(group: list[dict[str, Any]]) -> dict[str, float]:
    """Of each round, then the median over the rounds: one bad round does not make the tail."""
    ended, ran = ([quantiles(one[what], n=100, method="inclusive") for one in group] for what in ("latencies", "ran"))
    shown = {f"p{p}_ms": median(cuts[p - 1] for cuts in ended) * 1000 for p in (50, 95, 99)}
    return shown | {"ran_p50_ms": median(cuts[49] for cuts in ran) * 1000}


def _ratios(row: Row, rows: list[Row]) -> dict[str, float]:
    """How many times slower than ours and than the floor (below 1: faster); against one worker, and per task."""
    ratios = {}
    for other in ("ours", "floor"):
        found = _find(rows, row, engine=other)
        if ratio := _times_slower(row, found):
            ratios[f"times_{other}"] = ratio
        if found and "ran_p50_ms" in row and "ran_p50_ms" in found:
            ratios[f"ran_times_{other}"] = row["ran_p50_ms"] / found["ran_p50_ms"]
    alone = _find(rows, row, exact=True, workers=1)
    if len(WORKLOADS[row["workload"]].workers) > 1 and (ratio := _times_slower(row, alone)):
        ratios["times_one_worker"] = 1 / ratio
    return ratios | _times_the_costs(row, rows)


def _times_slower(row: Row, other: Row | None) -> float | None:
    """By latency where there is one, else by tasks a second."""
    if other is None:
        return None
    if "p50_ms" in row and "p50_ms" in other:
        return float(row["p50_ms"] / other["p50_ms"])
    if "tasks_per_second" in row and "tasks_per_second" in other:
        return float(other["tasks_per_second"] / row["tasks_per_second"])
    return None


def _times_the_costs(row: Row, rows: list[Row]) -> dict[str, float]:
    """Against the same without a history, or against the workload that this one is to be like."""
    like = WORKLOADS[row["workload"]].like
    if row["history"]:
        other = _find(rows, row, exact=True, history=0)
    elif like:
        other = _find(rows, row, workload=like, size=WORKLOADS[like].size)
    else:
        other = None
    if other is None:
        return {}
    names = [f"{cost}_per_task" for cost in COSTS]
    ratios = {f"times_{name}": row[name] / other[name] for name in names if name in row and other.get(name, 0) > _LEAST}
    return ratios | ({"times_like": ratio} if (ratio := _times_slower(row, other)) else {})


def _find(rows: list[Row], row: Row, *, exact: bool = False, **other: Any) -> Row | None:
    """The row that differs in this only; of another size, unless `exact`, if there is none of the same."""
    wanted = {name: row[name] for name in _KEY} | other
    loose = [r for r in rows if all(r[name] == wanted[name] for name in _KEY if name != "size")]
    same = [r for r in loose if r["size"] == wanted["size"]]
    return next(iter(same), None if exact else next(iter(loose), None))
