"""What the worker's parts ask of a core, and how ours answers: with leases, fences, batches and notifications."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from pgflow import calls, schema
from pgflow.calls import Call
from pgflow.db import SharingDatabase
from pgflow.flow import Flow
from pgflow.records import Outcome, Polled, TaskKey, Verdict
from pgflow.worker.ahead import MOST_AHEAD
from pgflow.worker.compile import compile_flow
from pgflow.worker.fetcher import Settled
from pgflow.worker.listener import Listener
from pgflow.worker.maintenance import Maintenance
from pgflow.worker.scheduler import Scheduler
from pgflow.worker.service import Service


class Core(Protocol):
    """The SQL functions behind a worker. `foreign.py` has the other one."""

    #: How many tasks may be claimed before a handler is free for them: 0 where handing one back uses up an attempt.
    most_ahead: int

    @property
    def hears(self) -> bool:
        """Whether the worker hears of all work that comes, so that it need not look."""

    async def prepare(self) -> None:
        """Makes sure that the database has this core, and these flows."""

    async def register(self) -> None:
        """Announces the worker, with the flows that it serves: it is about to work, or serves others than before."""

    async def sign_off(self) -> None:
        """Says that the worker ended by itself."""

    async def poll(self, flow_slugs: Sequence[str], qty: int) -> Polled:
        """Claims up to `qty` tasks of these flows."""

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Verdict]:
        """Stores outcomes; may be called again with those that it raised for."""

    async def settle_and_poll(
        self, outcomes: Sequence[Outcome], flow_slugs: Sequence[str], qty: int, only_follow_ups: bool
    ) -> Settled:
        """Both, settle first; with `only_follow_ups` it may bring no other tasks than those that settling makes."""

    def beat(self, held: Iterable[TaskKey]) -> Call[list[TaskKey]]:
        """The worker's heartbeat, and that of its tasks -> those that are no longer its own."""

    def services(self, hear: Callable[[Iterable[str]], None]) -> list[Service]:
        """What else has to run beside the work; `hear` is told of flows that may have some."""


class OwnCore:
    """The core that `pgflow migrate` installs.

    `served` are the slugs of all flows that are served just now; it may change. A worker whose handlers have names
    gives `announced`, which is called when a flow was made or changed as data, and gets its tasks with those names.
    """

    most_ahead = MOST_AHEAD

    def __init__(
        self,
        database: SharingDatabase,
        flows: Mapping[str, Flow[Any, Any]],
        served: Collection[str],
        worker_id: UUID,
        announced: Callable[[], None] | None = None,
        *,
        dev: bool,
    ) -> None:
        self._database = database
        self._flows = flows
        self._served = served
        self._worker_id = worker_id
        self._announced = announced
        self._by_name = announced is not None
        self._lease = database.settings.lease
        self._dev = dev
        self._listener: Listener | None = None

    @property
    def hears(self) -> bool:
        return self._listener is not None and self._listener.hears.is_set()

    async def prepare(self) -> None:
        await asyncio.to_thread(schema.prepare, self._database)
        for flow in self._flows.values():
            await compile_flow(self._database, flow, replace_idle=self._dev or self._database.is_embedded)

    async def register(self) -> None:
        await self._database.run(
            calls.register_worker(self._worker_id, ",".join(self._served), whereabouts(), lease=self._lease)
        )

    async def sign_off(self) -> None:
        await self._database.run(calls.mark_worker_stopped(self._worker_id))

    async def poll(self, flow_slugs: Sequence[str], qty: int) -> Polled:
        return await self._database.run(
            calls.poll_tasks(flow_slugs, self._worker_id, qty=qty, lease=self._lease, by_name=self._by_name)
        )

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Verdict]:
        return await self._database.run(calls.settle_tasks(self._worker_id, outcomes))

    async def settle_and_poll(
        self, outcomes: Sequence[Outcome], flow_slugs: Sequence[str], qty: int, only_follow_ups: bool
    ) -> Settled:
        return await self._database.run(
            calls.settle_and_poll(
                self._worker_id, outcomes, flow_slugs,
                qty=qty, lease=self._lease, only_follow_ups=only_follow_ups, by_name=self._by_name,
            )
        )  # fmt: skip

    def beat(self, held: Iterable[TaskKey]) -> Call[list[TaskKey]]:
        return calls.extend_leases(self._worker_id, held, lease=self._lease)

    def services(self, hear: Callable[[Iterable[str]], None]) -> list[Service]:
        self._listener = Listener(self._database, self._served, hear, self._announced)
        maintenance = Maintenance(self._database, lambda: hear(self._served))
        return [self._listener, maintenance, Scheduler(self._database)]


def whereabouts() -> str:
    """This process, as a worker's row names it."""
    return f"{socket.gethostname()}:{os.getpid()}"
