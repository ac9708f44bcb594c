"""Inputs of runs, for handlers that ask for them: loaded in batches, once per run, and kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from uuid import UUID

from pgflow import calls
from pgflow.db import AsyncDatabase, is_transient
from pgflow.worker.backoff import Backoff

_MOST_BYTES = 16 * 1024 * 1024


class Inputs:
    """A cache of runs' inputs, as JSON texts, of at most 16 MB.

    raw = await inputs.load(run_id)
    """

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._backoff = Backoff("loading inputs")
        self._cache: OrderedDict[UUID, bytes] = OrderedDict()
        self._size = 0
        self._wanted: dict[UUID, asyncio.Future[bytes]] = {}
        self._loading: asyncio.Task[None] | None = None

    async def load(self, run_id: UUID) -> bytes:
        """Waits until the database is there; raises LookupError if the run is gone."""
        if (raw := self._cache.get(run_id)) is not None:
            self._cache.move_to_end(run_id)
            return raw
        if run_id not in self._wanted:
            self._wanted[run_id] = asyncio.get_running_loop().create_future()
            if self._loading is None or self._loading.done():
                self._loading = asyncio.create_task(self._load_wanted())
        # several handlers may wait for one run: one that is cancelled must not take the others along
        return await asyncio.shield(self._wanted[run_id])

    def close(self) -> None:
        """Stops waiting for the database; nobody may ask any more."""
        if self._loading is not None:
            self._loading.cancel()

    async def _load_wanted(self) -> None:
        await asyncio.sleep(0)  # whoever else is about to ask joins this batch
        while self._wanted:
            batch, self._wanted = self._wanted, {}
            try:
                found = await self._fetch(list(batch))
            except Exception as error:
                for future in batch.values():
                    future.set_exception(error)
                continue
            for run_id, future in batch.items():
                if run_id in found:
                    self._keep(run_id, found[run_id])
                    future.set_result(found[run_id])
                else:
                    future.set_exception(LookupError(f"run {run_id} is not in the database any more"))

    async def _fetch(self, run_ids: list[UUID]) -> dict[UUID, bytes]:
        while True:
            try:
                found = await self._database.run(calls.load_inputs(run_ids))
            except Exception as error:
                if not is_transient(error):
                    raise
                await asyncio.sleep(self._backoff.failed(error))
            else:
                self._backoff.succeeded()
                return found

    def _keep(self, run_id: UUID, raw: bytes) -> None:
        self._cache[run_id] = raw
        self._size += len(raw)
        while self._size > _MOST_BYTES and self._cache:
            _, oldest = self._cache.popitem(last=False)
            self._size -= len(oldest)
