"""The SQL core in plain Python, from its contract: `run_inline` runs on it, the database is tested against it."""

from pgflow.testing.model.engine import Engine, TaskId
from pgflow.testing.model.snapshot import snapshot

__all__ = ["Engine", "TaskId", "snapshot"]
