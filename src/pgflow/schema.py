"""Installs and upgrades what is in `sql/`, and pgmq below it; the only reader of `sql/`.

    migrate("postgresql:///app")             # safe to repeat, and for ten processes at once

Migrations are numbered and run once; functions are replaced when their text has changed. All in one
transaction, under an advisory lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.errors import DeadlockDetected
from psycopg.sql import SQL

from pgflow.db import AsyncDatabase, Database
from pgflow.db.address import Address
from pgflow.db.errors import translated
from pgflow.errors import SchemaError
from pgflow.origin import find_origin

#: What of pgmq the SQL core calls; its presence is what makes an existing pgmq schema usable.
_PGMQ_NEEDED = ("create", "send", "archive", "delete", "drop_queue", "read")
_PGMQ_MINIMUM = (1, 4, 4)

#: The database's own search path may put foreign functions before PostgreSQL's, and so into our tables' defaults.
#: Bodies of functions may name functions that come later in the alphabet.
_PRELUDE = """
set local search_path to '';
set local check_function_bodies to off;
"""

#: The scripts of roles/; that of rights is noted where it has been applied, as functions are.
_ROLES, _RIGHTS = "roles", "rights"

_BOOKKEEPING = """
create schema if not exists pgflow;
revoke all on schema pgflow from public;
create table if not exists pgflow.schema_migrations (
  number int primary key,
  name text not null,
  applied_at timestamptz not null default now()
);
create table if not exists pgflow.schema_functions (
  name text primary key,
  checksum text not null,
  applied_at timestamptz not null default now()
);
"""


#: Replacing a view locks it; workers that use several meanwhile, in whatever order, may lock us out.
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Script:
    """One file of `sql/`."""

    name: str
    text: str

    @property
    def number(self) -> int:
        return int(self.name.split("_", 1)[0])

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(dsn: str, *, roles: bool = False) -> list[str]:
    """Brings the database's `pgflow` schema up to this code's version; returns what was applied, in order.

        migrate("postgresql:///app")         # ['pgmq', '0001_core', …]; [] when there was nothing to do

    With `roles` it also makes the roles pgflow_owner, pgflow_worker, pgflow_client and pgflow_reader, and gives them
    their rights; from then on every migration keeps those as they should be.
    Raises SchemaError where the schema is newer than the code, was made by somebody else, or pgmq cannot be
    installed (the message names the administrator's command); DatabaseUnreachable; DatabaseError for missing
    rights; SettingsError for what is no address. Nothing is changed then.
    """
    dsn = Address(dsn).dsn
    with translated(dsn):
        for _ in range(_TRIES - 1):
            with suppress(DeadlockDetected):
                return _migrate(dsn, roles=roles)
        return _migrate(dsn, roles=roles)


def _migrate(dsn: str, *, roles: bool) -> list[str]:
    """All or nothing."""
    with psycopg.connect(dsn, application_name="pgflow migrate") as connection:
        # What another migrator did while we waited for the lock must be seen.
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        connection.execute(_PRELUDE)
        connection.execute("select pg_advisory_xact_lock(hashtext('pgflow.migrate'))")
        applied = []
        for name, statement in _plan(connection, roles=roles):
            connection.execute(statement)
            applied.append(name)
        return applied


def script(dsn: str | None = None, *, roles: bool = False) -> str:
    """The SQL that `migrate` would run, as one text for psql.

    Without a database, that for an empty one whose server does not offer the pgmq extension.
    """
    if dsn is None:
        parts = [("pgmq", _pgmq_script()), *_upgrade(set(), {}, supabase=False), *(_roles() if roles else [])]
    else:
        dsn = Address(dsn).dsn
        with translated(dsn), psycopg.connect(dsn) as connection:
            parts = list(_plan(connection, roles=roles))
    texts = [statement for _, statement in parts]
    return "\n".join(["begin;", *map(_ended, [_PRELUDE, *texts]), "commit;"]) + "\n" if texts else ""


def _ended(text: str) -> str:
    """A script with the semicolon that must stand before the next one."""
    text = text.strip()
    return f"{text}\n" if text.endswith(";") else f"{text}\n;\n"


def prepare(database: AsyncDatabase | Database) -> None:
    """Makes sure that an open database can be worked with: the embedded one is migrated, any other checked.

    Raises SchemaError that says what to do.
    """
    if database.is_embedded:
        migrate(database.dsn)
        return
    with translated(database.dsn), psycopg.connect(database.dsn, autocommit=True) as connection:
        _refuse_foreign(connection)
        done = _applied_migrations(connection)
    if not done:
        raise SchemaError("the database has no pgflow schema yet: run `pgflow migrate`")
    _refuse_newer(done)
    if missing := [m.name for m in _migrations() if m.number not in done]:
        raise SchemaError(f"the pgflow schema lacks {', '.join(missing)}, which this code needs: run `pgflow migrate`")


def prepare_foreign(database: AsyncDatabase | Database) -> None:
    """Makes sure that an open database has somebody else's `pgflow` schema; raises SchemaError that says what to do."""
    with translated(database.dsn), psycopg.connect(database.dsn) as connection:
        if _is_foreign(connection):
            return
        is_ours = bool(_applied_migrations(connection))
    if is_ours:
        raise SchemaError("the database's pgflow schema is py-pgflow's own: leave out --core=foreign")
    raise SchemaError(
        "the database has no pgflow schema: install pgflow's own there first (`npx pgflow install`), or leave out "
        "--core=foreign and run `pgflow migrate`"
    )


# ---------------------------------------------------------------------------------------- the plan


def _plan(connection: Connection, *, roles: bool) -> Iterator[tuple[str, str]]:
    """What is still to be run, as (name, SQL); raises before anything is, where it must not be run."""
    _refuse_foreign(connection)
    done = _applied_migrations(connection)
    _refuse_newer(done)
    noted = _applied_functions(connection)
    pgmq = _pgmq_install(connection)
    if pgmq is not None:
        yield "pgmq", pgmq
    upgrade = list(_upgrade(done, noted, supabase=_has_supabase(connection)))
    yield from upgrade
    if roles:
        yield from _roles()
    elif (given := noted.get(_RIGHTS)) is not None and (upgrade or given != _of_roles(_RIGHTS).checksum):
        yield from _give_rights()


def _roles() -> Iterator[tuple[str, str]]:
    yield _ROLES, _of_roles(_ROLES).text
    yield from _give_rights()


def _give_rights() -> Iterator[tuple[str, str]]:
    rights = _of_roles(_RIGHTS)
    yield _RIGHTS, _ended(rights.text) + _note_function(rights)


def _of_roles(name: str) -> Script:
    return next(script for script in _read("roles") if script.name == name)


def _upgrade(done: set[int], checksums: dict[str, str], *, supabase: bool) -> Iterator[tuple[str, str]]:
    if not done:
        yield "bookkeeping", _BOOKKEEPING
    for migration in _migrations():
        if migration.number not in done:
            yield migration.name, _ended(migration.text) + _note_migration(migration)
    changed = [f for f in _functions(supabase=supabase) if checksums.get(f.name) != f.checksum]
    for function in changed:
        yield function.name, _ended(function.text) + _note_function(function)
    if supabase and any(f.name == "setup_requeue_stalled_tasks_cron" for f in changed):
        yield "cron", "select pgflow.setup_requeue_stalled_tasks_cron()"


def _note_migration(migration: Script) -> str:
    note = SQL("insert into pgflow.schema_migrations (number, name) values ({}, {});")
    return note.format(migration.number, migration.name).as_string(None)


def _note_function(function: Script) -> str:
    note = SQL(
        "insert into pgflow.schema_functions (name, checksum) values ({}, {}) "
        "on conflict (name) do update set checksum = excluded.checksum, applied_at = now();"
    )
    return note.format(function.name, function.checksum).as_string(None)


# ---------------------------------------------------------------------------------------- what is there


def _refuse_foreign(connection: Connection) -> None:
    if _is_foreign(connection):
        origin = find_origin(connection)
        choices = "use another database, or drop that schema if it may go (`drop schema pgflow cascade`)"
        if origin.can_be_worked:
            choices += ", or work it as it is with `pgflow worker --core=foreign`"
        raise SchemaError(
            f"the database already has a pgflow schema that {origin.name} made, and not py-pgflow; "
            f"nothing was changed: {choices}"
        )


def _is_foreign(connection: Connection) -> bool:
    """Whether there is a `pgflow` schema with something in it, but without our bookkeeping."""
    row = connection.execute(
        """select to_regclass('pgflow.schema_migrations') is null and exists (
             select from pg_class where relnamespace = n.oid
             union all select from pg_proc where pronamespace = n.oid)
           from pg_namespace n where n.nspname = 'pgflow'"""
    ).fetchone()
    return row is not None and bool(row[0])


def _refuse_newer(done: set[int]) -> None:
    newest = _migrations()[-1].number
    if done and max(done) > newest:
        raise SchemaError(
            f"the pgflow schema is at version {max(done)}, newer than this code knows ({newest}): "
            "upgrade py-pgflow here (`pip install -U py-pgflow`); nothing was changed"
        )


def _applied_migrations(connection: Connection) -> set[int]:
    if _lacks(connection, "pgflow.schema_migrations"):
        return set()
    return {number for (number,) in connection.execute("select number from pgflow.schema_migrations")}


def _applied_functions(connection: Connection) -> dict[str, str]:
    if _lacks(connection, "pgflow.schema_functions"):
        return {}
    return dict(connection.execute("select name, checksum from pgflow.schema_functions").fetchall())


def _lacks(connection: Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is null", (table,)).fetchone()
    return row is None or bool(row[0])


def _has_supabase(connection: Connection) -> bool:
    row = connection.execute(
        "select count(*) = 3 from pg_namespace where nspname in ('net', 'vault', 'cron')"
    ).fetchone()
    return row is not None and bool(row[0])


# ---------------------------------------------------------------------------------------- pgmq


def _pgmq_install(connection: Connection) -> str | None:
    """The SQL that installs pgmq; None where it is there. Its own script must not be run twice, so look first."""
    functions = {
        name
        for (name,) in connection.execute(
            "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'pgmq'"
        )
    }
    if functions:
        if missing := [name for name in _PGMQ_NEEDED if name not in functions]:
            raise SchemaError(
                f"the database's pgmq schema lacks {', '.join(f'pgmq.{m}' for m in missing)}: it is no pgmq >= 1.4.4; "
                "nothing was changed: upgrade it, or drop it first if it may go"
            )
        return None
    offered = connection.execute(
        "select v.version, v.superuser and not v.trusted and not r.rolsuper "
        "from pg_available_extension_versions v, pg_roles r "
        "where v.name = 'pgmq' and r.rolname = current_user"
    ).fetchall()
    usable = [forbidden for version, forbidden in offered if _version(version) >= _PGMQ_MINIMUM]
    if not usable:
        return _pgmq_script()
    if all(usable):
        raise SchemaError(
            "the server offers the pgmq extension, but this role may not create it; nothing was changed: "
            "ask an administrator to run `create extension pgmq` in this database"
        )
    return "create extension pgmq"


def _pgmq_script() -> str:
    from pgmq.install import get_embedded_install_sql  # imports a whole client: only when it is needed

    return str(get_embedded_install_sql())


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


# ---------------------------------------------------------------------------------------- sql/


def _migrations() -> list[Script]:
    return _read("migrations")


def _functions(*, supabase: bool) -> list[Script]:
    return _read("functions") + (_read("supabase") if supabase else [])


def _read(folder: str) -> list[Script]:
    found: list[Traversable] = [f for f in (files("pgflow") / "sql" / folder).iterdir() if f.name.endswith(".sql")]
    return [
        Script(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in sorted(found, key=lambda f: f.name)
    ]
