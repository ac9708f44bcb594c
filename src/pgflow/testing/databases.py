"""Throw-away servers and databases.

Making and dropping a database costs more than most tests, so a migrated one that a test left as it found it, but for
rows and queues, is emptied and lent again; what changed a function or added a schema is dropped.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier

from pgflow import embedded, schema

_numbers = itertools.count(1)

#: All but rows and queues: every object with the transaction that wrote it, so that no replacement goes unnoticed.
_SEEN = """
select format('%s %s', oid, xmin) from pg_namespace where nspname !~ '^pg_'
union all select format('%s %s', oid, xmin) from pg_proc where oid >= 16384
union all select format('%s %s', oid, xmin) from pg_constraint where oid >= 16384
union all select format('%s %s', oid, xmin) from pg_attrdef
union all select format('%s %s', oid, xmin) from pg_trigger
union all select format('%s %s', oid, xmin) from pg_event_trigger
union all select format('%s %s', oid, xmin) from pg_default_acl
union all select format('%s %s %s %s %s', oid, relname, relnatts, relacl, reloptions) from pg_class
  where oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace
union all select setconfig::text from pg_db_role_setting
  where setdatabase = (select oid from pg_database where datname = current_database())
"""
#: Room that deleted rows take: a new database is cheaper then, and the doctor finds ten thousand in one table. And what
#: the planner learnt.
_WORN = """
select sum(pg_relation_size(oid)) > 1e6 or max(pg_relation_size(oid)) > 4e5 or bool_or(reltuples >= 0)
  from pg_class where oid = any (%s::regclass[])
"""

_END_OTHERS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""


@contextmanager
def new_server(directory: Path | None = None) -> Iterator[str]:
    """The address of a private server that keeps nothing safe; others may share a directory that was given."""
    if directory is None:
        with short_directory() as own, new_server(own) as dsn:
            yield dsn
        return
    with embedded.start(directory, durable=False) as server:
        yield server.dsn_for("postgres")


@contextmanager
def new_database(server: str, template: str = "template1") -> Iterator[str]:
    """The address of a database that nobody used before; dropped afterwards."""
    name = _create(server, template)
    try:
        yield make_conninfo(server, dbname=name)
    finally:
        _drop(server, name)


class Databases:
    """Migrated databases, each lent to one test at a time."""

    def __init__(
        self,
        server: str,
        *,
        on_made: Callable[[str], None] = lambda dsn: None,
        on_returned: Callable[[psycopg.Connection], None] = lambda connection: None,
    ) -> None:
        """`on_made` is called with the address of the one that the others are copies of, `on_returned` before one is
        emptied."""
        self._server = server
        self._on_returned = on_returned
        self.template = _create(server)
        schema.migrate(self._dsn(self.template))
        on_made(self._dsn(self.template))
        with psycopg.connect(self._dsn(self.template)) as connection:
            tables = {t for (t,) in connection.execute("select tablename from pg_tables where schemaname = 'pgflow'")}
            filled = {t for t in tables if connection.execute(_rows_of(t)).fetchone() != (None,)}
            self._emptied = [f"pgflow.{t}" for t in sorted(tables - filled)]
            self._look = SQL(" union all ").join([SQL(_SEEN), *map(_rows_of, sorted(filled))])
            self._new = self._seen(connection)
        self._all = [self.template]
        self._idle: list[str] = []

    @contextmanager
    def lend(self) -> Iterator[str]:
        """The address of a database in which nobody left anything."""
        name = self._idle.pop() if self._idle else self._add()
        yield self._dsn(name)
        if self._is_as_new(name):
            self._idle.append(name)
        else:
            self._all.remove(name)
            _drop(self._server, name)

    def drop(self) -> None:
        for name in self._all:
            _drop(self._server, name)

    def _add(self) -> str:
        self._all.append(_create(self._server, self.template))
        return self._all[-1]

    def _is_as_new(self, name: str) -> bool:
        """Empties a database, and says whether it is like one just made."""
        try:
            with psycopg.connect(self._dsn(name), autocommit=True) as connection:
                connection.execute(_END_OTHERS)
                self._on_returned(connection)
                connection.execute(_emptying(self._emptied))
                return self._seen(connection) == self._new and not self._is_worn(connection)
        except psycopg.Error:  # something of ours is gone
            return False

    def _seen(self, connection: psycopg.Connection) -> list[tuple[str]]:
        return sorted(connection.execute(self._look).fetchall())

    def _is_worn(self, connection: psycopg.Connection) -> bool:
        return connection.execute(_WORN, (self._emptied,)).fetchone() == (True,)

    def _dsn(self, name: str) -> str:
        return make_conninfo(self._server, dbname=name)


def _rows_of(table: str) -> Composed:
    return SQL("select string_agg(t::text, ' ' order by t::text) from pgflow.{} t").format(Identifier(table))


def _emptying(tables: list[str]) -> Composed:
    return SQL("""
        set session_replication_role to replica;  -- the order of deletes is of no importance then
        {}
        select pgmq.drop_queue(queue_name) from pgmq.list_queues();
        drop schema if exists realtime cascade;  -- a stand-in that many tests make
        update pgflow.outage set grace_until = '-infinity' where grace_until <> '-infinity';
    """).format(Composed([SQL("delete from {};").format(Identifier(*table.split("."))) for table in tables]))


def _create(server: str, template: str = "template1") -> str:
    name = f"pgflow_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("create database {} template {}").format(Identifier(name), Identifier(template)))
    return name


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory near the root: pytest's own are too deep for a socket, and closed to the server's user."""
    path = Path(tempfile.mkdtemp(prefix="pgflow-test-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path / "embedded"
    finally:
        remove_server(path / "embedded")
        shutil.rmtree(path, ignore_errors=True)


def remove_server(directory: Path) -> None:
    """Waits until no process of the directory's server is left (it would linger without its files), and removes it."""
    lock = directory / "server.lock"
    if lock.is_file():
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    shutil.rmtree(directory, ignore_errors=True)
