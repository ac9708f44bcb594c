"""How quick a durable engine can be on this machine at most: start, claim and result of a run each one row, committed.

.venv/bin/python benchmarks/least_latency.py

Client, worker and server are separate processes, as in the latency workloads, with their pauses between runs: the
client inserts a row and notifies; the worker claims it, writes an output per step, and notifies; the client reads it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from statistics import median, quantiles

import cluster
import psycopg

_TABLE = """
create table run (id int primary key, status text not null, input int not null, output int);
create index on run (id) where status = 'queued';
"""
_START = (
    "with new as (insert into run values (%s, 'queued', 1) returning id) select pg_notify('work', id::text) from new"
)
_CLAIM = """
update run set status = 'started'
 where id = (select id from run where status = 'queued' order by id limit 1 for update skip locked)
returning id, input
"""
_KEEP = "update run set output = %s where id = %s"
_END = """
with ended as (update run set status = 'completed', output = %s where id = %s returning id)
select pg_notify('ended', id::text) from ended
"""
_LOOK = "select * from run where id = %s and status = 'completed'"
_WARM_UP = 10
#: Seconds after which the worker is given up.
_PATIENCE = 30.0
#: Seconds between two runs, as in the latency workloads (peers/harness.py).
_PAUSE = (0.01, 0.11)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="how many runs of one step, and of three")
    runs = parser.parse_args().runs
    with cluster.start() as server:
        for steps in (1, 3):
            with server.database() as dsn:
                took = _measure(dsn, steps, runs)
            p99 = quantiles(took, n=100, method="inclusive")[98]
            print(f"{steps} step{'s' * (steps > 1)}: p50 {median(took) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
    return 0


def _measure(dsn: str, steps: int, runs: int) -> list[float]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLE)
    context = get_context("spawn")
    listens = context.Event()
    worker = context.Process(target=_work, args=(dsn, steps, listens), daemon=True)
    worker.start()
    try:
        if not listens.wait(_PATIENCE):
            raise TimeoutError("the worker does not listen")
        return asyncio.run(_start_runs(dsn, runs))
    finally:
        worker.terminate()
        worker.join()


def _work(dsn: str, steps: int, listens: Event) -> None:
    asyncio.run(_work_off(dsn, steps, listens))


async def _work_off(dsn: str, steps: int, listens: Event) -> None:
    async with await _connect(dsn, "work") as connection:
        listens.set()
        while True:
            await _hear(connection)
            claimed = await (await connection.execute(_CLAIM)).fetchone()
            assert claimed is not None
            run_id, output = claimed
            for _ in range(steps - 1):
                await connection.execute(_KEEP, (output, run_id))
            await connection.execute(_END, (output, run_id))


async def _start_runs(dsn: str, runs: int) -> list[float]:
    """Seconds from starting each to having read its result."""
    pauses = random.Random(1)  # noqa: S311  # the same ones each time
    took = []
    async with await _connect(dsn) as connection, await _connect(dsn, "ended") as ended:
        for run_id in range(_WARM_UP + runs):
            await asyncio.sleep(pauses.uniform(*_PAUSE))
            begin = time.perf_counter()
            await connection.execute(_START, (run_id,))
            await _hear(ended, _PATIENCE)
            assert await (await connection.execute(_LOOK, (run_id,))).fetchone() is not None
            took.append(time.perf_counter() - begin)
    return took[_WARM_UP:]


async def _connect(dsn: str, channel: str = "") -> psycopg.AsyncConnection:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    connection.prepare_threshold = 0
    if channel:
        await connection.execute(f"listen {channel}")
    return connection


async def _hear(connection: psycopg.AsyncConnection, seconds: float | None = None) -> None:
    """Returns at the next notification, or after so many seconds."""
    async for _ in connection.notifies(timeout=seconds, stop_after=1):
        pass


if __name__ == "__main__":
    raise SystemExit(main())
