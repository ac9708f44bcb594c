"""Runs, started without a pause; those that were acknowledged must end."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from uuid import UUID

import psycopg

from pgflow import calls
from pgflow.db.address import prepare
from tests.faults.chaos.flows import ACCOUNTS, FLOWS, orders

#: So many runs may be open before no more are started.
_MOST_OPEN = 60
_BATCH = 5
START_CENTS = 1_000_000

TABLES = f"""
create table accounts (id int primary key, cents bigint);
insert into accounts select n, {START_CENTS} from generate_series(0, {ACCOUNTS - 1}) n;
create table transfers (run_id uuid, step_slug text, task_index int, token uuid);
create table accepted (run_id uuid, step_slug text, task_index int, output jsonb);
create function note_accepted() returns trigger language plpgsql as $$
begin
  insert into public.accepted values (new.run_id, new.step_slug, new.task_index, new.output);
  return null;
end $$;
create trigger note_accepted after update on pgflow.step_tasks for each row
  when (old.status is distinct from 'completed' and new.status = 'completed') execute function note_accepted();
"""


class Load:
    """Starts runs over a connection of its own, each batch again until it is acknowledged."""

    def __init__(self, dsn: str, rng: random.Random) -> None:
        self._dsn = dsn
        self._rng = rng
        self._batches = 0
        self.acknowledged: list[UUID] = []

    async def keep_up(self) -> None:
        while True:
            if await asyncio.to_thread(self.open_runs) < _MOST_OPEN:
                await self._start_batch()
            await asyncio.sleep(0.1)

    async def _start_batch(self) -> None:
        slug = self._rng.choice(list(FLOWS))
        inputs = [self._input(slug) for _ in range(_BATCH)]
        self._batches += 1
        keys = [f"{self._batches} {n}" for n in range(_BATCH)]
        while not (runs := await asyncio.to_thread(self._start, slug, inputs, keys)):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        self.acknowledged += runs

    def _input(self, slug: str) -> Any:
        return orders(self._rng) if slug == "bank" else {"go": True}

    def _start(self, slug: str, inputs: list[Any], keys: list[str]) -> list[UUID]:
        """No runs if the database did not answer: then the same keys find the same runs."""
        call = calls.start_flows(slug, [json.dumps(i).encode() for i in inputs], keys=keys)
        try:
            with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
                prepare(connection)
                return [run.run_id for run in call.decode(connection.execute(call.sql, call.args).fetchall())]
        except psycopg.OperationalError:
            return []

    def open_runs(self) -> int:
        """How many are not over; as many as can be while nobody knows."""
        try:
            with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
                row = connection.execute("select count(*) from pgflow.runs where status = 'started'").fetchone()
        except psycopg.OperationalError:
            return _MOST_OPEN
        return int(row[0]) if row else 0
