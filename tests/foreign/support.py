"""Runs on a foreign core, where our client is of no use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from pgflow import Flow, Worker
from tests.support import aeventually, value


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    run_id: UUID
    status: str
    output: Any


def start(conn: psycopg.Connection, flow: Flow[Any, Any], input: Any = None) -> UUID:
    """Starts a run by the contract's function."""
    sql = "select run_id from pgflow.start_flow(%s::text, %s::jsonb)"
    return UUID(str(value(conn, sql, flow.slug, json.dumps(input))))


async def ended(conn: psycopg.Connection, run_id: UUID) -> Ended:
    """Waits for the end of a run."""

    def look() -> tuple[str, Any] | None:
        row = conn.execute("select status, output from pgflow.runs where run_id = %s", [run_id]).fetchone()
        return row if row is not None and row[0] != "started" else None

    return Ended(run_id, *await aeventually(look, within=30))


async def work(dsn: str, conn: psycopg.Connection, flow: Flow[Any, Any], input: Any = None, **options: Any) -> Ended:
    """Starts a run, works on it until it has ended, and returns how."""
    async with Worker([flow], dsn=dsn, core="foreign", grace=1, **options):
        return await ended(conn, start(conn, flow, input))
