"""What the statements of a call did: their plans, as auto_explain tells them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import psycopg

from pgflow.calls import Call

T = TypeVar("T")

GROWING = {"step_tasks", "step_states", "runs", "q_busy", "a_busy"}


class Cost(NamedTuple):
    """Pages touched and rows that went through the nodes of all plans (or were thrown away in them)."""

    pages: int
    rows: int

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.pages + other.pages, self.rows + other.rows)

    def at_most(self, factor: float, other: Cost) -> bool:
        return self.pages <= factor * other.pages and self.rows <= factor * other.rows


class Explained:
    """The plans of the statements that a call ran, innermost first."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.plans: list[dict[str, Any]] = []
        self.connection = connection
        connection.add_notice_handler(self._note)
        connection.execute("set client_min_messages = log")
        for setting, to in {
            "log_analyze": "on",
            "log_buffers": "on",
            "log_timing": "off",
            "log_nested_statements": "on",
            "log_format": "json",
        }.items():
            connection.execute(f"set auto_explain.{setting} = {to}")

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        _, found, text = (notice.message_primary or "").partition("plan:\n")
        if found:
            self.plans.append(json.loads(text))

    def run(self, call: Call[T]) -> T:
        return self.watch(lambda: call.decode(self.connection.execute(call.sql, call.args).fetchall()))

    def watch(self, action: Callable[[], T]) -> T:
        """Keeps the plans of what is done now, one call, and forgets those from before."""
        self.plans.clear()
        self.connection.execute("set auto_explain.log_min_duration = 0")
        try:
            return action()
        finally:
            self.connection.execute("set auto_explain.log_min_duration = -1")

    @property
    def pages(self) -> int:
        """Touched by the call as a whole: its own plan comes last and contains the others."""
        return _pages(self.plans[-1])

    @property
    def cost(self) -> Cost:
        return Cost(self.pages, sum(_rows(node) for plan in self.plans for node in nodes(plan["Plan"])))

    def costliest(self, count: int = 10) -> list[str]:
        """What to look at if a call costs too much: its statements, those with the most rows first."""
        sums: dict[str, Cost] = {}
        for plan in self.plans:
            own = Cost(_pages(plan), sum(_rows(node) for node in nodes(plan["Plan"])))
            text = " ".join(plan["Query Text"].split())[:150]
            sums[text] = sums.get(text, Cost(0, 0)) + own
        return [f"{sums[text]}: {text}" for text in sorted(sums, key=lambda text: sums[text].rows)[: -count - 1 : -1]]

    def sequential_scans(self) -> list[str]:
        return [
            f"{node['Relation Name']} in {plan['Query Text']}"
            for plan in self.plans
            for node in nodes(plan["Plan"])
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
        ]

    def large_nodes(self, limit: int) -> list[str]:
        """The nodes of any plan that read, or threw away, more rows than this."""
        return [
            f"{rows} rows in {node['Node Type']} of {plan['Query Text']}"
            for plan in self.plans
            for node in nodes(plan["Plan"])
            if (rows := _rows(node)) > limit
        ]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def _pages(plan: dict[str, Any]) -> int:
    top = plan["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def _rows(node: dict[str, Any]) -> int:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    return round((node["Actual Rows"] + removed) * node["Actual Loops"])
