"""The emptied database that the lifecycle tests share, here too."""

from __future__ import annotations

from tests.sql.lifecycle.conftest import conn, shared_dsn

__all__ = ["conn", "shared_dsn"]
