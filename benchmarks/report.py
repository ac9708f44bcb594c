"""From single measurements to medians, ratios and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median, quantiles
from typing import Any

_DASH = "–"


def summarise(measurements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per scenario, number of workers, engine and size: medians over the rounds, and ratios to ours."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in measurements:
        groups.setdefault((one["scenario"], one["workers"], one["engine"], one["size"]), []).append(one)
    rows = [_row(key, group) for key, group in groups.items()]
    for row in rows:
        row |= _ratios(row, rows)
    return rows


def _row(key: tuple[Any, ...], group: list[dict[str, Any]]) -> dict[str, Any]:
    scenario, workers, engine, size = key
    row = {"scenario": scenario, "workers": workers, "engine": engine, "size": size, "rounds": len(group)}
    if failures := [one["failed"] for one in group if "failed" in one]:
        return row | {"failed": failures[0]}
    seconds = [one["seconds"] for one in group]
    row |= {"seconds": median(seconds), "fastest": min(seconds), "slowest": max(seconds)}
    names = ("start_seconds", "postgres_cpu_ms_per_task", "worker_cpu_ms_per_task", "wal_bytes_per_task",
             "statements_per_second", "connections")  # fmt: skip
    row |= {name: median(one[name] for one in group) for name in names if group[0].get(name) is not None}
    if "tasks" in group[0]:
        row["tasks_per_second"] = median(one["tasks"] / one["seconds"] for one in group)
    if "latencies" in group[0]:
        row |= _percentiles(group)
    return row


def _percentiles(group: list[dict[str, Any]]) -> dict[str, float]:
    """Of each round, then the median over the rounds: one bad round does not make the tail."""
    rounds = [quantiles(one["latencies"], n=100, method="inclusive") for one in group]
    return {f"p{p}_ms": median(cuts[p - 1] for cuts in rounds) * 1000 for p in (50, 95, 99)}


def _ratios(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, float]:
    """How many times slower than ours in the same scenario (below 1: faster); how much more than with one worker."""
    ratios = {}
    for name, is_better_high in (("p50_ms", False), ("tasks_per_second", True)):
        ours = _value(rows, name, row, engine="ours")
        if name in row and ours and "times_ours" not in ratios:
            ratios["times_ours"] = ours / row[name] if is_better_high else row[name] / ours
    alone = _value(rows, "tasks_per_second", row, workers=1, size=row["size"])
    if row["scenario"] == "scale" and "tasks_per_second" in row and alone:
        ratios["times_one_worker"] = row["tasks_per_second"] / alone
    return ratios


def _value(rows: list[dict[str, Any]], name: str, like: dict[str, Any], **other: Any) -> float | None:
    wanted = {key: like[key] for key in ("scenario", "workers", "engine")} | other
    return next((r[name] for r in rows if name in r and all(r[k] == v for k, v in wanted.items())), None)


# ---------------------------------------------------------------------------------------- text


def _number(name: str, digits: int, thousands: bool = False) -> Callable[[dict[str, Any]], str]:
    def show(row: dict[str, Any]) -> str:
        return _DASH if row.get(name) is None else f"{row[name]:{',' if thousands else ''}.{digits}f}"

    return show


def _spread(row: dict[str, Any]) -> str:
    return f"{row['fastest']:.3f} .. {row['slowest']:.3f}" if "fastest" in row else _DASH


def _keeps(row: dict[str, Any]) -> str:
    return "yes" if row["keeps_results"] else "no"


_Column = tuple[str, Callable[[dict[str, Any]], str]]
_NAME: list[_Column] = [("engine", lambda row: row["engine"])]
_SIZE: list[_Column] = [("size", _number("size", 0, thousands=True))]
_RATIO: list[_Column] = [("x ours", _number("times_ours", 2))]
_TIMES: list[_Column] = [
    ("median s", _number("seconds", 3)),
    ("spread", _spread),
    ("tasks/s", _number("tasks_per_second", 0, thousands=True)),
]
_COSTS: list[_Column] = [
    ("PG CPU ms/task", _number("postgres_cpu_ms_per_task", 3)),
    ("worker CPU ms/task", _number("worker_cpu_ms_per_task", 3)),
    ("WAL B/task", _number("wal_bytes_per_task", 0, thousands=True)),
    ("keeps results", _keeps),
]
_LATENCY: list[_Column] = [(f"p{p} ms", _number(f"p{p}_ms", 1)) for p in (50, 95, 99)]

#: What each scenario shows.
_COLUMNS: dict[str, list[_Column]] = {
    "fanout": _NAME + _SIZE + _TIMES + _RATIO + _COSTS,
    "runs": [*_NAME, *_SIZE, *_TIMES, ("of it starting s", _number("start_seconds", 3)), *_RATIO, *_COSTS],
    "latency1": _NAME + _LATENCY + _RATIO + _COSTS,
    "latency3": _NAME + _LATENCY + _RATIO + _COSTS,
    "scale": [
        *_NAME, ("workers", _number("workers", 0)), *_SIZE, *_TIMES, ("x one worker", _number("times_one_worker", 2)),
        *_RATIO, *_COSTS,
    ],
    "idle": [
        *_NAME, ("transactions/s", _number("statements_per_second", 2)), ("connections", _number("connections", 0)),
    ],
}  # fmt: skip


def tables(summary: Iterable[dict[str, Any]], engines: dict[str, dict[str, Any]], titles: dict[str, str]) -> str:
    """The summary as text, one table per scenario, then what could not be measured and why."""
    rows = [row | {"keeps_results": engines[row["engine"]]["keeps_results"]} for row in summary]
    parts = []
    for scenario, title in titles.items():
        if of_it := [row for row in rows if row["scenario"] == scenario]:
            parts += ["", title, "", *_table(_COLUMNS[scenario], of_it)]
    missing = [f"{name}: not available: {e['reason']}" for name, e in engines.items() if not e["available"]]
    missing += [f"{row['engine']}: no result in {row['scenario']}: {row['failed']}" for row in rows if "failed" in row]
    if missing:
        parts += ["", *missing]
    return "\n".join(parts)


def _table(columns: list[_Column], rows: list[dict[str, Any]]) -> list[str]:
    cells = [[title for title, _ in columns], *([show(row) for _, show in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([r[0].ljust(widths[0]), *map(str.rjust, r[1:], widths[1:])]).rstrip() for r in cells]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
