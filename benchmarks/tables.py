"""The summary as tables, for a terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from guarantees import GUARANTEES
from summary import Row
from workloads import WORKLOADS, Workload

_DASH = "–"
#: No smaller ratio of wall times is called a difference.
CLEAR = 1.5

_Column = tuple[str, Callable[[Row], str]]


def number(name: str, digits: int) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        return _DASH if row.get(name) is None else f"{row[name]:,.{digits}f}"

    return show


def _spread(row: Row) -> str:
    return f"{row['fastest']:.3f} .. {row['slowest']:.3f}" if "fastest" in row else _DASH


def _against(name: str) -> Callable[[Row], str]:
    """A ratio of wall times, as what it may be called."""

    def show(row: Row) -> str:
        ratio = row.get(name)
        if ratio is None:
            return _DASH
        if 1 / CLEAR < ratio < CLEAR:
            return f"same ({ratio:.2f})"
        return f"{ratio:.1f} slower" if ratio > 1 else f"{1 / ratio:.1f} faster"

    return show


def _keeps(row: Row) -> str:
    return GUARANTEES[row["engine"]].results.partition(":")[0]


_NAME: list[_Column] = [("engine", lambda row: str(row["engine"]))]
_SIZE: list[_Column] = [("size", number("size", 0)), ("rounds", number("rounds", 0))]
_TIMES: list[_Column] = [
    ("median s", number("seconds", 3)),
    ("spread", _spread),
    ("tasks/s", number("tasks_per_second", 0)),
]
_AGAINST: list[_Column] = [("than ours", _against("times_ours")), ("than the floor", _against("times_floor"))]
_COSTS: list[_Column] = [
    ("DB CPU ms", number("database_cpu_ms_per_task", 3)),
    ("worker CPU ms", number("worker_cpu_ms_per_task", 3)),
    ("commits", number("commits_per_task", 3)),
    ("rows", number("rows_per_task", 2)),
    ("buffers", number("buffers_per_task", 1)),
    ("WAL B", number("wal_bytes_per_task", 0)),
]
_TIMES_COSTS: list[_Column] = [
    ("CPU x", number("times_database_cpu_ms_per_task", 2)),
    ("rows x", number("times_rows_per_task", 2)),
    ("buffers x", number("times_buffers_per_task", 2)),
    ("WAL x", number("times_wal_bytes_per_task", 2)),
]
_KEEPS: list[_Column] = [("results", _keeps)]


def columns(workload: Workload) -> list[_Column]:
    """What a workload's table shows."""
    if workload.kind == "idle":
        return [*_NAME, ("statements/s", number("statements_per_second", 2)), ("connections", number("connections", 0))]
    if workload.kind == "latency":
        latencies = [(f"p{p} ms", number(f"p{p}_ms", 1)) for p in (50, 95, 99)]
        ran = [("ran p50 ms", number("ran_p50_ms", 1)), ("ran than ours", _against("ran_times_ours"))]
        return [*_NAME, ("rounds", number("rounds", 0)), *latencies, _AGAINST[0], *ran, *_KEEPS]
    shown = _NAME + _SIZE
    if len(workload.workers) > 1:
        shown = [*shown, ("workers", number("workers", 0)), ("x one worker", number("times_one_worker", 2))]
    if len(workload.histories) > 1:
        shown = [*shown, ("history", number("history", 0))]
    shown = shown + _TIMES
    if workload.kind == "runs":
        shown = [*shown, ("of it starting s", number("start_seconds", 3))]
    shown = shown + (_AGAINST if len(workload.engines) > 1 else [("than without", _against("times_like"))])
    if workload.like or len(workload.histories) > 1:
        shown = shown + _TIMES_COSTS
    return shown + _COSTS + (_KEEPS if len(workload.engines) > 1 else [])


def rows_of(summary: Iterable[Row], workload: Workload) -> list[Row]:
    return [row for row in summary if row["workload"] == workload.name]


def cells(workload: Workload, rows: list[Row]) -> list[list[str]]:
    """The table of a workload, its titles first. Columns in which nobody has anything are left out."""
    shown = columns(workload)
    table = [[title for title, _ in shown], *([show(row) for _, show in shown] for row in rows)]
    kept = [any(line[n] != _DASH for line in table[1:]) for n in range(len(shown))]
    return [[cell for cell, keep in zip(line, kept, strict=True) if keep] for line in table]


def missing(summary: Iterable[Row], engines: dict[str, dict[str, Any]]) -> list[str]:
    """What could not be measured, and why."""
    absent = [f"{name}: not available: {e['reason']}" for name, e in engines.items() if not e["available"]]
    return absent + [
        f"{row['engine']}: no result in {row['workload']} ({row['size']:,}): {row['failed']}"
        for row in summary
        if "failed" in row
    ]


def text(summary: list[Row], engines: dict[str, dict[str, Any]]) -> str:
    """One table per workload, then what could not be measured."""
    parts = []
    for workload in WORKLOADS.values():
        if rows := rows_of(summary, workload):
            parts += ["", f"{workload.name}: {workload.title}", "", *aligned(cells(workload, rows))]
    return "\n".join([*parts, "", *missing(summary, engines)])


def aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join([r[0].ljust(widths[0]), *map(str.rjust, r[1:], widths[1:])]).rstrip() for r in lines]
    return [shown[0], "  ".join("-" * width for width in widths), *shown[1:]]


def markdown(lines: list[list[str]], *, numbers: bool = True) -> str:
    titles, *rest = lines
    rule = ["---", *("---:" if numbers else "---" for _ in titles[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [titles, rule, *rest])
