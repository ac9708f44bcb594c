"""Which stored flows a worker's named handlers can serve: kept up to date while flows come and go."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime

from pgflow import calls
from pgflow.db import AsyncDatabase
from pgflow.flow import FlowSpec, Handlers
from pgflow.worker.service import Service

logger = logging.getLogger("pgflow.worker")

#: Seconds between two looks, where no notification comes.
_INTERVAL = 5.0


class Roster(Service):
    """Tells `serve` which flows these handlers can do all the work of, whenever that changes.

    Woken by notifications; dependent on none. A flow of which only a part could be done is named in the log, once.
    """

    activity = "looking for flows"
    brings_work = True

    def __init__(
        self,
        database: AsyncDatabase,
        handlers: Handlers,
        others: Collection[str],
        serve: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._database = database
        self._handlers = handlers
        self._others = others
        self._serve = serve
        self._seen: dict[str, datetime] = {}
        self._served: dict[str, None] = {}
        self._told: list[str] | None = []  # None: the worker may serve another set than it was told
        self._complaints: dict[str, list[str]] = {}

    async def run_once(self) -> float | None:
        there = await self._database.run(calls.dynamic_flows())
        for gone in self._seen.keys() - there.keys():
            self.forget(gone)
            self._complaints.pop(gone, None)
        changed = [slug for slug, at in there.items() if self._seen.get(slug) != at and slug not in self._others]
        if changed:
            for slug, (at, definition) in (await self._database.run(calls.flow_definitions(changed))).items():
                self._seen[slug] = at
                self._judge(FlowSpec.of_shape(slug, definition))
        if (served := sorted(self._served)) != self._told:
            self._told = served
            try:
                await self._serve(served)
            except BaseException:
                self._told = None
                raise
        return _INTERVAL * random.uniform(0.75, 1.25)  # noqa: S311  # so that workers do not march in step

    def forget(self, flow_slug: str) -> None:
        """The flow is gone, or not what it was: it is not served until it has been looked at again."""
        self._seen.pop(flow_slug, None)
        self._served.pop(flow_slug, None)
        self._told = None

    def _judge(self, spec: FlowSpec) -> None:
        faults = self._handlers.faults(spec)
        if not faults:
            logger.log(logging.DEBUG if spec.slug in self._served else logging.INFO, "serving flow %s", spec.slug)
            self._served[spec.slug] = None
            return
        self._served.pop(spec.slug, None)
        is_ours_in_part = any(step.handled_by in self._handlers for step in spec.steps)
        if is_ours_in_part and self._complaints.get(spec.slug) != faults:
            logger.warning("flow %s is not served: %s", spec.slug, "; ".join(faults))
        self._complaints[spec.slug] = faults
