"""What is done to the workers, their database and the network between them; each fault is over when it returns."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.chaos.clocks import Clock
from tests.faults.chaos.cluster import Cluster
from tests.faults.chaos.workers import Workers
from tests.faults.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was injected; `pid` is the worker that it took out of work, if it was one."""

    kind: str
    at: float
    pid: int | None = None


@dataclass(slots=True)
class World:
    """All that faults can be injected into."""

    cluster: Cluster
    network: Proxy
    workers: Workers
    lease: int
    rng: random.Random
    worker_clock: Clock | None
    server_clock: Clock | None
    small_disk: Path | None
    injected: list[Injected] = field(default_factory=list)

    def note(self, kind: str, pid: int | None = None) -> None:
        print(f"{time.strftime('%X')} {kind}", *filter(None, [pid]), flush=True)
        self.injected.append(Injected(kind, time.time(), pid))

    def sql(self, query: str) -> None:
        with psycopg.connect(self.cluster.dsn, autocommit=True) as connection:
            connection.execute(query)


async def kill(world: World) -> None:
    pid = world.rng.choice(world.workers.pids)
    os.kill(pid, signal.SIGKILL)
    world.note(KILL, pid)


async def kill_alone(world: World) -> None:
    """Nothing else goes wrong until its tasks run elsewhere."""
    pid = world.rng.choice(world.workers.pids)
    os.kill(pid, signal.SIGKILL)
    world.note(KILL_ALONE, pid)
    await asyncio.sleep(world.lease + 7)


async def freeze(world: World) -> None:
    """Long enough for its tasks to run elsewhere; then it goes on as if nothing had happened."""
    pid = world.rng.choice(world.workers.pids)
    os.kill(pid, signal.SIGSTOP)
    world.note(FREEZE, pid)
    await asyncio.sleep(world.lease * 2)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def restart(world: World) -> None:
    world.note("PostgreSQL stopped in immediate mode, and started")
    await asyncio.to_thread(world.cluster.stop)
    await asyncio.sleep(world.rng.uniform(0, 1.5))
    await asyncio.to_thread(world.cluster.start)


async def terminate_backends(world: World) -> None:
    world.note("all backends terminated")
    await asyncio.to_thread(
        world.sql, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgflow'"
    )


async def reset_network(world: World) -> None:
    world.note("all connections reset")
    world.network.reset()


async def silence_network(world: World) -> None:
    world.note("all packets dropped for a while")
    world.network.silence()
    await asyncio.sleep(world.rng.uniform(1, 1.5 * world.lease))
    await world.network.heal()


async def shift_workers_clock(world: World) -> None:
    if world.worker_clock is not None:
        world.note("a worker's clock shifted by up to a day")
        world.worker_clock.shift(world.rng.choice((-86_400, -600, 600, 86_400)))
        await asyncio.sleep(1)


async def shift_servers_clock(world: World) -> None:
    """Never far back: what was promised for a time (a lease, a retry) then comes so much later."""
    if world.server_clock is not None:
        world.note("PostgreSQL's clock shifted by up to two leases, and back")
        world.server_clock.shift(world.lease * world.rng.choice((-1, 1, 2)))
        await asyncio.sleep(2 * world.lease)
        world.server_clock.shift(0)


async def fill_disk(world: World) -> None:
    """PostgreSQL may end of it, since it cannot write its log; then it is started again."""
    if world.small_disk is None:
        return
    world.note("the disk full for a while")
    ballast = world.small_disk / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 10))
        await asyncio.sleep(world.rng.uniform(1, 3))
    finally:
        ballast.unlink()
    if not await asyncio.to_thread(_comes_back, world.cluster):
        await asyncio.to_thread(world.cluster.stop)
        await asyncio.to_thread(world.cluster.start)


def _comes_back(cluster: Cluster) -> bool:
    for _ in range(20):
        if cluster.is_up():
            return True
        time.sleep(0.1)
    return False


async def migrate(world: World) -> None:
    """As if a comment in every function had changed: all are replaced while they are called."""
    world.note("`pgflow migrate` replaced every function")
    await asyncio.to_thread(world.sql, "update pgflow.schema_functions set checksum = 'of another release'")
    dsn = make_conninfo(world.cluster.dsn)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pgflow", "migrate",
        env=os.environ | {"PGFLOW_DATABASE_URL": dsn}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(120):
        assert await process.wait() == 0, "pgflow migrate failed"


Fault: TypeAlias = Callable[[World], Awaitable[None]]

KILL_ALONE = "a worker killed while all else was well"
KILL = "a worker killed (SIGKILL)"
FREEZE = "a worker frozen past its lease (SIGSTOP, SIGCONT)"
#: Every kind; what happens most comes more than once.
ROUND: tuple[Fault, ...] = (
    kill, freeze, restart, terminate_backends, reset_network, kill, silence_network, shift_workers_clock,
    shift_servers_clock, fill_disk, migrate, kill,
)  # fmt: skip
