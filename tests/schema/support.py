"""Whether we are installed, and roles that may do less than the owner of a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from tests.support import value


def is_installed(dsn: str) -> bool:
    """Whether there is a schema of ours, whatever is in it."""
    with psycopg.connect(dsn) as conn:
        return bool(value(conn, "select to_regnamespace('pgflow') is not null"))


@contextmanager
def plain_owner(dsn: str) -> Iterator[str]:
    """The address of a database for a role that owns it, and may otherwise do nothing."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        name = value(admin, "select current_database()")
        role = f"owner_of_{name}"
        admin.execute(f"create role {role} login password 'plain'")
        admin.execute(f"alter database {name} owner to {role}")
        try:
            yield make_conninfo(dsn, user=role, password="plain")
        finally:
            admin.execute(f"alter database {name} owner to current_user")
            admin.execute(f"drop owned by {role} cascade")
            admin.execute(f"drop role {role}")
