"""A chaos run from its beginning to its end."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from pgflow import calls, embedded, schema
from tests.faults.chaos import clocks
from tests.faults.chaos.clocks import Clock
from tests.faults.chaos.cluster import Cluster
from tests.faults.chaos.faults import ROUND, Injected, World, kill_alone
from tests.faults.chaos.flows import FLOWS
from tests.faults.chaos.ledger import TABLE
from tests.faults.chaos.load import TABLES, Load
from tests.faults.chaos.oracle import Oracle
from tests.faults.chaos.workers import Workers
from tests.faults.proxy import Proxy
from tests.support import eventually

#: A silent network is noticed by these (seconds; the last one milliseconds), as it is by default, only sooner.
_IMPATIENT = {"connect_timeout": 2, "keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2,
              "tcp_user_timeout": 3000}  # fmt: skip
_DISK = "512m"
#: Seconds that everything gets to come to an end once nothing is injected any more.
_LONGEST_END = 180


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. CHAOS_SEED must be set to `seed` before the flows are imported."""

    seed: int
    seconds: float
    workers: int
    lease: int
    pause: float  #: the longest time between two faults
    alone: int  #: workers that are killed, in each round, while all else is well


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: what is wrong, the figures, and what could not be done here."""

    faults: list[str]
    figures: list[tuple[str, str]]
    skipped: list[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it happens, with what this machine lets us maltreat."""

    folder: Path
    cluster: Cluster
    ledger: str
    disk: Path | None
    server_clock: Clock | None
    worker_clock: Clock | None

    @property
    def skipped(self) -> list[str]:
        lacking = []
        if self.server_clock is None:
            lacking.append("clocks not shifted: no libfaketime here (`apt-get install faketime`)")
        if self.disk is None:
            lacking.append("disk not filled: no tmpfs can be mounted here (it takes root and CAP_SYS_ADMIN)")
        return lacking


def run(plan: Plan) -> Outcome:
    """At least one round of all faults, and rounds until the time is over; then everything must end, and add up."""
    with _place() as place:
        prepare(place.cluster.dsn, place.ledger)
        acknowledged, injected = asyncio.run(_play(plan, place))
        with (
            psycopg.connect(place.cluster.dsn, autocommit=True) as database,
            psycopg.connect(place.ledger, autocommit=True) as notes,
        ):
            oracle = Oracle(database, notes, acknowledged)
            faults = oracle.faults()
            if faults:
                _show_logs(place.folder)
            return Outcome(faults, oracle.figures(injected), place.skipped)


@contextmanager
def _place() -> Iterator[_Place]:
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        ledger = stack.enter_context(embedded.start(folder / "ledger", durable=False)).dsn
        disk = stack.enter_context(_small_disk(folder / "disk"))
        library = clocks.library()
        server_clock = Clock(folder / "server.clock", library) if library else None
        worker_clock = Clock(folder / "worker.clock", library) if library else None
        bent = server_clock.environment if server_clock else {}
        cluster = Cluster(folder / "server", disk or _made(folder / "data"), bent)
        cluster.create()
        stack.callback(cluster.stop)
        yield _Place(folder, cluster, ledger, disk, server_clock, worker_clock)


async def _play(plan: Plan, place: _Place) -> tuple[list[UUID], list[Injected]]:
    """The runs that were acknowledged, and what was done while they ran."""
    async with Proxy(place.cluster.dsn) as network:
        environment = {
            "PGFLOW_DATABASE_URL": make_conninfo(network.dsn, **_IMPATIENT),
            "CHAOS_LEDGER": place.ledger,
            "CHAOS_SEED": str(plan.seed),
        }
        workers = Workers(place.folder, plan.workers, environment, plan.lease)
        if place.worker_clock is not None:
            workers.bend_clock_of(0, place.worker_clock.environment)
        world = World(
            place.cluster, network, workers, plan.lease, random.Random(plan.seed),
            place.worker_clock, place.server_clock, place.disk,
        )  # fmt: skip
        load = Load(place.cluster.dsn, random.Random(plan.seed + 1))
        workers.start()
        try:
            await _inject(plan, world, load)
            await _end(world, load)
            await asyncio.to_thread(workers.stop)
        except BaseException:
            _show_logs(place.folder)
            raise
        finally:
            workers.kill()
    return load.acknowledged, world.injected


async def _inject(plan: Plan, world: World, load: Load) -> None:
    deadline = time.monotonic() + plan.seconds
    starting = asyncio.create_task(load.keep_up())
    replacing = asyncio.create_task(_replace_dead(world.workers))
    try:
        await asyncio.to_thread(eventually, lambda: _completed(world.cluster.dsn) >= 20, within=60)
        while True:
            for fault in [kill_alone] * plan.alone + world.rng.sample(ROUND, len(ROUND)):
                await fault(world)
                await asyncio.sleep(world.rng.uniform(0.1, plan.pause))
                for task in (starting, replacing):
                    if task.done():
                        task.result()
            if time.monotonic() > deadline:
                return
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        replacing.cancel()


def _completed(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pgflow.step_tasks where status = 'completed'").fetchone()
    return int(row[0]) if row else 0


async def _replace_dead(workers: Workers) -> None:
    while True:
        workers.replace_dead()
        await asyncio.sleep(0.2)


async def _end(world: World, load: Load) -> None:
    """The workers, on whom nothing is inflicted any more, must finish every run."""
    deadline = time.monotonic() + _LONGEST_END
    while (count := await asyncio.to_thread(load.open_runs)) and time.monotonic() < deadline:
        world.workers.replace_dead()
        await asyncio.sleep(0.2)
    print(f"{time.strftime('%X')} all is over", flush=True)
    if count:
        print(f"{count} runs have not ended within {_LONGEST_END} s", file=sys.stderr)


def prepare(dsn: str, ledger: str) -> None:
    schema.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES)
        for slug, flow in FLOWS.items():
            call = calls.ensure_flow_compiled(slug, flow.shape())
            connection.execute(call.sql, call.args)
    with psycopg.connect(ledger, autocommit=True) as connection:
        connection.execute(TABLE)


@contextmanager
def _folder() -> Iterator[Path]:
    """Near the root, for the sockets, and open to the server's user."""
    path = Path(tempfile.mkdtemp(prefix="pgflow-chaos-", dir="/tmp"))
    path.chmod(0o755)
    _made(path / "server")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@contextmanager
def _small_disk(path: Path) -> Iterator[Path | None]:
    """A file system that can be filled without harm to others."""
    _made(path)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "tmpfs", str(path)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield path if mounted else None
    finally:
        if mounted:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=True)


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("worker-*.log")):
        lines = log.read_text(errors="replace").splitlines()
        print(f"--- {log.name}, its last lines:", *lines[-25:], sep="\n", file=sys.stderr)
