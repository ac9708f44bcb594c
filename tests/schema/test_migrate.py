"""Installing and upgrading the schema."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow import schema
from pgflow.errors import DatabaseError, DatabaseUnreachable, SchemaError
from tests.embedded.support import end, spawn
from tests.schema.catalog import objects
from tests.schema.support import is_installed, plain_owner
from tests.support import eventually, rows, value

#: Whether somebody waits for a lock on something in this database.
_WAITS = """
select exists (select from pg_locks l join pg_database d on d.oid = l.database
                where not l.granted and d.datname = current_database())
"""


def test_an_empty_database_gets_everything_once(empty_dsn: str) -> None:
    first = schema.migrate(empty_dsn)
    assert first[0] == "pgmq"
    assert {"0001_core", "start_flow", "poll_tasks"} <= set(first)
    installed = objects(empty_dsn)
    assert schema.migrate(empty_dsn) == []
    assert objects(empty_dsn) == installed


def test_what_was_applied_is_written_down(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        assert ("0001_core",) in rows(conn, "select name from pgflow.schema_migrations where number = 1")
        noted = {name for (name,) in rows(conn, "select name from pgflow.schema_functions")}
    assert noted == {file.name for file in schema._functions(supabase=False)}


def test_every_file_of_functions_makes_what_it_is_named_after(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        made = rows(
            conn,
            "select proname, count(*) from pg_proc where pronamespace = 'pgflow'::regnamespace group by 1 "
            "union all select relname, 1 from pg_class where relnamespace = 'pgflow'::regnamespace and relkind = 'v'",
        )
    assert dict(made) == dict.fromkeys([*(f.name for f in schema._functions(supabase=False)), "is_valid_slug"], 1)


def test_no_function_trusts_the_callers_search_path(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        trusting = rows(
            conn,
            "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace "
            """and not coalesce(proconfig @> array['search_path=""'], false)""",
        )
    assert trusting == []


def test_the_public_may_do_nothing_in_the_schema(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        assert not value(conn, "select has_schema_privilege('public', 'pgflow', 'usage')")
        assert not value(conn, "select has_schema_privilege('public', 'pgflow', 'create')")


def test_ten_threads_at_once_install_it_once(empty_dsn: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        applied = list(pool.map(schema.migrate, [empty_dsn] * 10))
    assert sorted(map(bool, applied)) == [False] * 9 + [True]


@pytest.mark.slow
def test_ten_processes_at_once_install_it_once(empty_dsn: str) -> None:
    script = "import sys; from pgflow import schema; print(len(schema.migrate(sys.argv[1])) > 0)"
    processes = [spawn(script, empty_dsn) for _ in range(10)]
    said = [end(process) for process in processes]
    assert sorted(said) == ["False\n"] * 9 + ["True\n"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_migrators_wait_for_each_other_whatever_the_databases_isolation(empty_dsn: str, level: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        name = value(conn, "select current_database()")
        conn.execute(f"alter database {name} set default_transaction_isolation = '{level}'")
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(schema.migrate, [empty_dsn] * 4))
    assert sorted(map(bool, applied)) == [False] * 3 + [True]


def test_a_newer_database_is_refused_and_left_alone(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into pgflow.schema_migrations (number, name) values (9999, '9999_future')")
        conn.execute("update pgflow.schema_functions set checksum = 'of the future'")
    before = objects(dsn)
    for attempt in (schema.migrate, schema.script):
        with pytest.raises(SchemaError, match=r"version 9999, newer .*`pip install -U py-pgflow`.*nothing was changed"):
            attempt(dsn)
    assert objects(dsn) == before
    with psycopg.connect(dsn) as conn:
        assert value(conn, "select count(*) from pgflow.schema_functions where checksum <> 'of the future'") == 0


def test_an_empty_schema_that_an_administrator_prepared_is_used(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgflow")
    assert "0001_core" in schema.migrate(empty_dsn)


def test_only_functions_whose_text_changed_are_applied_again(dsn: str) -> None:
    before = objects(dsn)
    with psycopg.connect(dsn) as conn:
        conn.execute("update pgflow.schema_functions set checksum = 'old' where name = 'is_local'")
        conn.execute("create or replace function pgflow.is_local() returns boolean return true")
    applied = schema.migrate(dsn)
    assert "is_local" in applied
    assert not {"start_flow", "0001_core", "pgmq"} & set(applied)
    assert objects(dsn) == before
    assert schema.migrate(dsn) == []


def test_replacing_every_function_leaves_data_and_schema_as_they_were(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("select pgflow.create_flow('kept')")
        conn.execute("update pgflow.schema_functions set checksum = 'old'")
    before = objects(dsn)
    assert "start_flow" in schema.migrate(dsn)
    assert objects(dsn) == before
    with psycopg.connect(dsn) as conn:
        assert rows(conn, "select flow_slug from pgflow.flows") == [("kept",)]


def test_a_failure_half_way_leaves_nothing_behind(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = schema.Script("9999_broken", "select no_such_function();")
    monkeypatch.setattr(schema, "_migrations", lambda real=schema._migrations: [*real(), broken])
    with pytest.raises(DatabaseError, match="no_such_function"):
        schema.migrate(empty_dsn)
    assert not is_installed(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        assert value(conn, "select to_regnamespace('pgmq') is null")


def test_a_new_migration_is_run_once_and_the_old_ones_not_again(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    added = schema.Script("9999_added", "create table pgflow.added ();")
    monkeypatch.setattr(schema, "_migrations", lambda real=schema._migrations: [*real(), added])
    applied = schema.migrate(dsn)
    assert "9999_added" in applied
    assert "0001_core" not in applied
    assert schema.migrate(dsn) == []


@pytest.mark.slow
def test_a_deadlock_with_a_worker_is_no_failure(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by chaos: workers read the views that a migration replaces, in another order."""
    tries: list[str] = []
    migrate = schema._migrate
    monkeypatch.setattr(schema, "_migrate", lambda dsn, roles: tries.append(dsn) or migrate(dsn, roles=roles))
    with psycopg.connect(dsn, autocommit=True) as admin, psycopg.connect(dsn) as worker, ThreadPoolExecutor() as pool:
        admin.execute(
            "update pgflow.schema_functions set checksum = 'old' where name ~ '^_(step_inputs|worker_holds)$'"
        )
        worker.execute("set deadlock_timeout = '60s'")  # it is not to be the victim
        worker.execute("select from pgflow._worker_holds limit 0")
        migrating = pool.submit(schema.migrate, make_conninfo(dsn, options="-c deadlock_timeout=3s"))
        eventually(lambda: value(admin, _WAITS))
        worker.execute("select from pgflow._step_inputs limit 0")
        worker.commit()
        assert migrating.result(60) == ["_step_inputs", "_worker_holds"]
    assert len(tries) == 2


def test_an_ordinary_role_that_owns_the_database_may_migrate(empty_dsn: str) -> None:
    with plain_owner(empty_dsn) as dsn:
        assert "0001_core" in schema.migrate(dsn)
        with psycopg.connect(dsn) as conn:
            assert not value(conn, "select rolsuper from pg_roles where rolname = current_user")
            conn.execute("select pgflow.create_flow('mine')")
            conn.execute("select pgflow.add_step('mine', 'only')")
            assert value(conn, "select status from pgflow.start_flow('mine', '{}')") == "started"


def test_a_role_without_the_right_to_make_schemas_is_refused(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as admin:
        role = f"guest_of_{value(admin, 'select current_database()')}"
        admin.execute(f"create role {role} login password 'plain'")
        try:
            with pytest.raises(DatabaseError, match="permission denied for database"):
                schema.migrate(make_conninfo(empty_dsn, user=role, password="plain"))
        finally:
            admin.execute(f"drop role {role}")
    assert not is_installed(empty_dsn)


def test_a_hostile_search_path_reaches_neither_our_tables_nor_our_functions(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        name = value(conn, "select current_database()")
        for function in ("now()", "clock_timestamp()"):
            conn.execute(
                f"create function public.{function} returns timestamptz language plpgsql "
                "as $$ begin raise exception 'hijacked'; end $$"
            )
        conn.execute("create function public.hashtext(text) returns int language sql as 'select 1/0'")
        conn.execute("create table public.flows (hijacked int)")
        conn.execute(f"alter database {name} set search_path = public, pg_catalog")
    schema.migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        with pytest.raises(psycopg.errors.RaiseException, match="hijacked"), conn.transaction():
            conn.execute("select now()")
        conn.execute("select pgflow.create_flow('safe')")
        conn.execute("select pgflow.add_step('safe', 'only')")
        run = value(conn, "select run_id from pgflow.start_flow('safe', '{}')")
        conn.execute("select pgflow.start_tasks('safe', array[1], gen_random_uuid())")
        conn.execute("select pgflow.complete_task(%s, 'only', 0, '1')", (run,))
        conn.execute("insert into pgflow.workers (worker_id, queue_name, function_name) select run_id, '', '' "
                     "from pgflow.runs")  # fmt: skip
        assert value(conn, "select status from pgflow.runs") == "completed"


def test_nobody_at_the_address_is_said_without_the_password() -> None:
    with pytest.raises(DatabaseUnreachable, match="cannot reach") as caught:
        schema.migrate("postgresql://me:secret@127.0.0.1:1/nowhere")
    assert "secret" not in str(caught.value)
