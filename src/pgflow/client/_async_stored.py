"""Whether a flow is there. `_sync_stored.py` is generated from this file: edit here only."""

from __future__ import annotations

from pgflow import calls
from pgflow.db import AsyncDatabase
from pgflow.errors import FlowNotFound


async def expect_stored(database: AsyncDatabase, flow_slug: str) -> None:
    """Raises FlowNotFound for a slug that names no flow: one that is mistyped must not look like one without runs."""
    if not await database.run(calls.flow_exists(flow_slug)):
        raise FlowNotFound(flow_slug)
