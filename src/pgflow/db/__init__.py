"""The database as Python sees it: an address, a pool, `run(Call)`; the only package that executes SQL.

    async with AsyncDatabase(load(dsn="postgresql:///app")) as database:
        runs = await database.run(calls.list_runs(None, None, 10, None))

`Database` is its blocking twin, generated from it by `scripts/unasync.py`.
"""

from pgflow.db._async import AsyncDatabase
from pgflow.db._sync import Database
from pgflow.db.errors import is_transient
from pgflow.db.sharing import SharingDatabase

__all__ = ["AsyncDatabase", "Database", "SharingDatabase", "is_transient"]
