"""Makes sure that a flow in the database is the one in the code."""

from __future__ import annotations

import logging
from typing import Any

from pgflow import calls
from pgflow.db import AsyncDatabase
from pgflow.errors import FlowMismatch
from pgflow.flow import Flow

logger = logging.getLogger("pgflow.worker")


async def compile_flow(database: AsyncDatabase, flow: Flow[Any, Any], *, replace_idle: bool) -> None:
    """Stores the flow if it is missing, and its schedules. A flow that differs is replaced if `replace_idle` and no run
    of it is unfinished.

    Raises FlowMismatch, with the differences, where it may not be replaced, and InvalidInputError for a schedule whose
    name is taken.
    """
    await _compile(database, flow, replace_idle=replace_idle)
    await database.run(calls.set_flow_schedules(flow.slug, flow.schedules))


async def _compile(database: AsyncDatabase, flow: Flow[Any, Any], *, replace_idle: bool) -> None:
    status, differences = await database.run(calls.ensure_flow_compiled(flow.slug, flow.shape()))
    if status != "mismatch":
        logger.debug("flow %s: %s", flow.slug, status)
        return
    if replace_idle and not await database.run(calls.unfinished_runs(flow.slug)):
        await database.run(calls.ensure_flow_compiled(flow.slug, flow.shape(), allow_data_loss=True))
        logger.info("flow %s has changed and was replaced: %s", flow.slug, "; ".join(differences))
        return
    raise FlowMismatch(flow.slug, differences)
