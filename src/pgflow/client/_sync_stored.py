"""Whether a flow is there. Generated from `_async_stored.py` by scripts/unasync.py: do not edit."""

from __future__ import annotations

from pgflow import calls
from pgflow.db import Database
from pgflow.errors import FlowNotFound


def expect_stored(database: Database, flow_slug: str) -> None:
    """Raises FlowNotFound for a slug that names no flow: one that is mistyped must not look like one without runs."""
    if not database.run(calls.flow_exists(flow_slug)):
        raise FlowNotFound(flow_slug)
