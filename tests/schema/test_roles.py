"""The roles of `pgflow migrate --roles`: each does its whole job, and nothing else, however it is tried."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Identifier

from pgflow import Client, Flow, Run, Worker, calls, schema
from pgflow.errors import DatabaseError, FlowNotFound
from pgflow.health import examine
from pgflow.testing.databases import Databases
from tests.schema.catalog import objects
from tests.schema.support import plain_owner
from tests.support import rows, value

READS = {"ensure_flow_compiled", "_get_flow_shape", "_compare_flow_shapes", "is_local", "is_valid_slug"}
MAY_CALL = {
    "worker": {
        *READS, "calculate_retry_delay", "poll_tasks", "settle_tasks", "settle_and_poll", "extend_leases",
        "fail_stalled_tasks", "requeue_stalled_tasks", "register_worker", "mark_worker_stopped", "start_tasks",
        "complete_task", "fail_task", "set_vt_batch", "task_handler", "fire_schedule", "set_flow_schedules",
        "list_flows", "flow_definition", "queue_depths",
    },
    "client": {
        *READS, "calculate_retry_delay", "start_flow", "start_flows", "start_flow_with_states", "get_run_with_states",
        "cancel_run", "retry_run", "rerun", "pause_flow", "resume_flow", "add_schedule", "pause_schedule",
        "resume_schedule", "run_schedule", "delete_schedule", "list_flows", "flow_definition",
        "watch", "queue_depths",
    },
    "reader": set(),
}  # fmt: skip


@dataclass(frozen=True)
class Logins:
    """Addresses of one database: an administrator's, and those of logins that each have one of the roles."""

    admin: str
    owner: str
    worker: str
    client: str
    reader: str


@contextmanager
def logins_of(admin: str) -> Iterator[Logins]:
    """The database with the roles, and a login for each."""
    schema.migrate(admin, roles=True)
    with psycopg.connect(admin, autocommit=True) as conn:
        kinds = ("owner", "worker", "client", "reader")
        names = {kind: f"{value(conn, 'select current_database()')}_{kind}" for kind in kinds}
        for kind, name in names.items():
            conn.execute(f"create role {name} login password 'plain' in role pgflow_{kind}")
        try:
            yield Logins(admin, **{k: make_conninfo(admin, user=n, password="plain") for k, n in names.items()})
        finally:
            for name in names.values():
                conn.execute(f"drop owned by {name} cascade")
                conn.execute(f"drop role {name}")


@pytest.fixture(scope="module")
def logins(_databases: Databases) -> Iterator[Logins]:
    with _databases.lend() as dsn, logins_of(dsn) as logins:
        with psycopg.connect(logins.owner) as conn:
            conn.execute("select pgflow.create_flow('queue')")
        yield logins


@pytest.fixture(params=["worker", "client", "reader"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def login(logins: Logins, kind: str) -> Iterator[psycopg.Connection]:
    """A connection of that role, in a transaction of which nothing stays."""
    with psycopg.connect(getattr(logins, kind)) as conn:
        yield conn
        conn.rollback()


def fair(slug: str) -> Flow[Any, Any]:
    """A flow with something of everything: it fails until it is told not to."""
    flow: Flow[Any, Any] = Flow(slug, max_attempts=2, base_delay=0)

    @flow.step
    def numbers(flow_input: int) -> list[int]:
        return list(range(flow_input))

    @flow.map(over=numbers)
    def double(number: int) -> int:
        return 2 * number

    @flow.step(max_attempts=1)
    def total(double: list[int]) -> int:
        if fails:
            raise ValueError("not yet")
        return sum(double)

    fails: list[bool] = []
    flow.fails = fails  # type: ignore[attr-defined]
    return flow


# ------------------------------------------------------------------------------------- what each can do


async def test_each_does_its_whole_job(logins: Logins) -> None:
    flow = fair("whole_job")
    with Client(logins.owner) as owner:
        owner.compile(flow)
    with Client(logins.client) as client, Client(logins.reader) as reader:
        run = client.start(flow, 4)
        async with Worker([flow], dsn=logins.worker, concurrency=2):
            done = await waited(client, run)
            assert (done.status, done.output) == ("completed", {"total": 12})
            flow.fails.append(True)  # type: ignore[attr-defined]
            failed = await waited(client, client.start(flow, 3))
            assert (failed.status, failed.error) == ("failed", "ValueError: not yet")
            flow.fails.clear()  # type: ignore[attr-defined]
            client.retry(failed)
            assert (await waited(client, failed)).output == {"total": 6}
            assert (await waited(client, client.rerun(failed, "double"))).output == {"total": 6}
        client.pause(flow)
        client.resume(flow)
        assert client.cancel(client.start(flow, 1)).status == "cancelled"
        assert reader.get_run(done) == done
        assert len(reader.list_runs(flow)) == 4
    with psycopg.connect(logins.reader) as conn:
        assert value(conn, "select count(*) from pgmq.q_whole_job") == 0
        assert value(conn, "select count(*) from pgmq.a_whole_job") > 0
    with psycopg.connect(logins.owner) as conn:
        conn.execute("select pgflow.prune_data_older_than('1 day')")
        conn.execute("select pgflow.delete_flow_and_data('whole_job')")
        assert value(conn, "select count(*) from pgflow.runs where flow_slug = 'whole_job'") == 0


async def waited(client: Client, run: Run) -> Run:
    return await asyncio.to_thread(client.wait, run, timeout=60)


def test_the_contracts_own_calls_work_for_a_worker_of_another_kind(logins: Logins) -> None:
    with psycopg.connect(logins.owner) as conn:
        conn.execute("select pgflow.create_flow('foreign_one')")
        conn.execute("select pgflow.add_step('foreign_one', 'a')")
    with psycopg.connect(logins.client) as conn:
        run_id = value(conn, "select run_id from pgflow.start_flow('foreign_one', '1')")
    with psycopg.connect(logins.worker) as conn:
        conn.execute("select * from pgflow.start_tasks('foreign_one', '{1}', gen_random_uuid())")
        conn.execute("select * from pgflow.complete_task(%s, 'a', 0, '2')", (run_id,))
    with psycopg.connect(logins.client) as conn:
        assert value(conn, "select pgflow.get_run_with_states(%s)", run_id)["run"]["output"] == {"a": 2}


def test_whoever_makes_a_queue_the_owner_has_it(logins: Logins) -> None:
    for number, dsn in enumerate((logins.owner, logins.admin)):
        with psycopg.connect(dsn) as conn:
            conn.execute(f"select pgflow.create_flow('made_{number}')")
            made = "select tableowner from pg_tables where schemaname = 'pgmq' and tablename like '%%_made_%%'"
            assert set(rows(conn, made)) == {("pgflow_owner",)}


# ------------------------------------------------------------------------------------- what none can do


def refusal(conn: psycopg.Connection, sql: Any) -> str:
    """What a statement fails with for want of rights, '' if it does not; nothing of it stays."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(sql)
    except InsufficientPrivilege as error:
        return str(error)
    except psycopg.Error:
        return ""
    return ""


def test_each_function_that_is_not_its_own_is_refused(login: psycopg.Connection, kind: str) -> None:
    functions = rows(
        login,
        """select p.proname, 'select pgflow.' || quote_ident(p.proname) || '(' || coalesce((
             select string_agg('null::' || format_type(t, null), ', ' order by n)
               from unnest(p.proargtypes::oid[]) with ordinality as a(t, n)), '') || ')'
           from pg_proc p where p.pronamespace = 'pgflow'::regnamespace""",
    )
    assert len(functions) > 90
    assert {name for name, call in functions if f"for function {name}" not in refusal(login, call)} == MAY_CALL[kind]


def test_nobody_writes_a_table(login: psycopg.Connection, logins: Logins) -> None:
    with psycopg.connect(logins.admin) as conn:
        tables = rows(
            conn,
            """select c.oid::regclass::text, min(quote_ident(a.attname)) from pg_class c
                 join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.attidentity = ''
                where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text in ('pgflow', 'pgmq')
                group by 1""",
        )
    assert len(tables) > 10
    for table, column in tables:
        assert refusal(login, f"insert into {table} default values")
        assert refusal(login, f"update {table} set {column} = {column}")
        assert refusal(login, f"delete from {table}")
        assert refusal(login, f"truncate {table}")


def test_only_the_reader_looks_into_queues(login: psycopg.Connection, kind: str) -> None:
    for table in ("q_queue", "a_queue", "meta"):
        assert bool(refusal(login, f"select from pgmq.{table}")) is (kind != "reader")
    assert not refusal(login, "select from pgflow.runs")


@pytest.mark.parametrize(
    "statement",
    [
        "create table pgflow.mine ()",
        "create function pgflow.mine() returns int return 1",
        "create or replace function pgflow.is_local() returns boolean language sql as 'select true'",
        "alter function pgflow.poll_tasks security invoker",
        "alter table pgflow.runs disable trigger all",
        "drop table pgflow.deps",
        "drop schema pgflow cascade",
        "create table pgmq.mine ()",
        "select pgmq.create('mine')",
        "select pgmq.purge_queue('queue')",
        "select pgmq.send('queue', '{}')",
        "select pgmq.pop('queue')",
        "set role pgflow_owner",
        "grant pgflow_owner to current_user",
        "create role mine",
    ],
)
def test_nobody_changes_what_there_is(login: psycopg.Connection, statement: str) -> None:
    assert refusal(login, statement)


def test_a_flow_that_is_not_there_is_not_made_but_one_that_is_there_is_verified(logins: Logins) -> None:
    flow = fair("compiled_by_the_owner")
    for dsn in (logins.worker, logins.client):
        with (
            Client(dsn) as client,
            pytest.raises(DatabaseError, match=r"create_flow.*docs/how-to/least-privilege\.md"),
        ):
            client.compile(flow)
    with Client(logins.client) as client, pytest.raises(FlowNotFound):
        client.start(flow.slug, 1)
    with Client(logins.owner) as owner:
        assert owner.compile(flow) == "compiled"
    for dsn in (logins.worker, logins.client):
        with Client(dsn) as client:
            assert client.compile(flow) == "verified"


def test_a_worker_that_plays_the_local_stack_replaces_no_flow(logins: Logins) -> None:
    with psycopg.connect(logins.owner) as conn:
        conn.execute("select pgflow.create_flow('precious')")
        conn.execute("select pgflow.add_step('precious', 'a')")
    with psycopg.connect(logins.worker) as conn:
        conn.execute(
            "select set_config('app.settings.jwt_secret', %s, false)",
            ("super-secret-jwt-token-with-at-least-32-characters-long",),
        )
        with pytest.raises(InsufficientPrivilege, match="delete_flow_and_data"):
            conn.execute("""select pgflow.ensure_flow_compiled('precious', '{"steps": []}')""")


@pytest.mark.parametrize("name", ["text", "uuid", "jsonb", "timestamptz", "interval"])
def test_a_temporary_type_is_not_slipped_under_the_owners_functions(logins: Logins, name: str) -> None:
    with psycopg.connect(logins.client, autocommit=True) as conn:
        conn.execute("create temp table caught (who name)")
        conn.execute("grant insert on caught to public")
        conn.execute(
            """create function pg_temp.catch() returns boolean language plpgsql as
               $$ begin insert into pg_temp.caught values (current_user); return true; end $$"""
        )
        conn.execute(
            SQL("create domain pg_temp.{} as pg_catalog.{} check (pg_temp.catch())").format(*[Identifier(name)] * 2)
        )
        for call in ("start_flow('x', '{}')", "cancel_run(gen_random_uuid(), 'x')", "retry_run(gen_random_uuid())"):
            refusal(conn, f"select pgflow.{call}")
        assert rows(conn, "select who from pg_temp.caught") == []


# ------------------------------------------------------------------------------------- making and keeping them


def test_without_roles_nobody_gets_any_right(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        assert (
            value(conn, "select count(*) from pg_proc where pronamespace = 'pgflow'::regnamespace and proacl <> '{}'")
            == 0
        )
        assert value(conn, "select count(*) from pgflow.schema_functions where name = 'rights'") == 0


def test_they_are_made_once_and_kept_by_every_migration(dsn: str) -> None:
    with logins_of(dsn) as logins:
        before = objects(dsn)
        assert schema.migrate(dsn, roles=True) == ["roles", "rights"]
        assert schema.migrate(logins.owner) == []
        assert objects(dsn) == before
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "update pgflow.schema_functions set checksum = 'old' where name in ('poll_tasks', 'start_flow')"
            )
        assert schema.migrate(logins.owner) == ["poll_tasks", "start_flow", "rights"]
        assert objects(dsn) == before
        with psycopg.connect(dsn) as conn:
            conn.execute("update pgflow.schema_functions set checksum = 'old' where name = 'rights'")
        assert schema.migrate(logins.owner) == ["rights"]
        assert objects(dsn) == before


def test_what_there_was_before_becomes_the_owners(empty_dsn: str) -> None:
    with plain_owner(empty_dsn) as plain:
        schema.migrate(plain)
        with psycopg.connect(plain) as conn:
            conn.execute("select pgflow.create_flow('older')")
            conn.execute("select pgflow.add_step('older', 'a')")
        with logins_of(empty_dsn) as logins:
            with Client(logins.client) as client:
                assert client.start("older", 1).status == "started"
            with psycopg.connect(empty_dsn) as conn:
                owners = """
                  select relnamespace::regnamespace::text, relowner::regrole::text from pg_class
                  union select pronamespace::regnamespace::text, proowner::regrole::text from pg_proc"""
                assert {owner for of, owner in rows(conn, owners) if of in ("pgflow", "pgmq")} == {"pgflow_owner"}


def test_who_may_not_make_roles_is_told_what_to_ask_for(empty_dsn: str) -> None:
    with plain_owner(empty_dsn) as plain:
        with pytest.raises(DatabaseError, match="may not make pgflow's roles; nothing was changed") as caught:
            schema.migrate(plain, roles=True)
        with psycopg.connect(empty_dsn, autocommit=True) as admin:
            assert value(admin, "select to_regnamespace('pgflow') is null")
            admin.execute(str(caught.value).split("`")[1])
        assert schema.migrate(plain, roles=True)[-1] == "rights"


def test_a_role_that_may_make_roles_needs_nobody(empty_dsn: str) -> None:
    with plain_owner(empty_dsn) as plain, psycopg.connect(empty_dsn, autocommit=True) as admin:
        for kind in ("owner", "worker", "client", "reader"):  # or, where an earlier test made them, may use them
            if not value(admin, "select to_regrole(%s) is null", f"pgflow_{kind}"):
                admin.execute(
                    f"grant pgflow_{kind} to owner_of_{value(admin, 'select current_database()')} with admin option"
                )
        admin.execute(f"alter role owner_of_{value(admin, 'select current_database()')} createrole")
        assert schema.migrate(plain, roles=True)[-1] == "rights"


def test_the_script_for_psql_makes_them_too(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(schema.script(roles=True))
        assert value(conn, "select has_function_privilege('pgflow_client', 'pgflow.cancel_run(uuid, text)', 'execute')")
    assert schema.migrate(empty_dsn) == []


def test_every_call_of_pythons_is_somebodys() -> None:
    """A function that Python calls and no role may is an oversight, unless it is the owner's."""
    called = set(re.findall(r"pgflow\.(\w+)\(", inspect.getsource(calls)))
    rights = schema._of_roles("rights").text
    assert {name for name in called if f"'{name}'" not in rights} == set()


@pytest.mark.parametrize("role", ["worker", "client"])
def test_the_doctor_finds_that_each_role_has_what_it_needs(logins: Logins, role: str) -> None:
    checked, code = examine(getattr(logins, role))
    assert (code, [each for each in checked if each.findings]) == (0, [])


def test_the_logins_of_the_how_to_do_what_it_says(dsn: str, conn: psycopg.Connection) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "least-privilege.md").read_text()
    (create,), (code,) = (re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("sql", "python"))
    schema.migrate(dsn, roles=True)
    name = conn.info.dbname
    roles = re.findall(r"create role (\w+) ", create)
    campaign: Flow[Any, Any] = Flow("campaign")
    campaign.step(slug="send")(lambda flow_input: flow_input)
    try:
        conn.execute(re.sub(r"create role (\w+)", rf"create role {name}_\1", create))
        conn.execute(f"grant pgflow_worker, pgflow_client to {name}_worker")  # the service that does both
        as_login = {role: make_conninfo(dsn, user=f"{name}_{role}", password="…") for role in roles}
        refused = pytest.raises(DatabaseError, match="permission denied for function _create_flow_from_shape")
        with Client(as_login["web"]) as client, refused:
            client.compile(campaign)
        code = code.replace('"postgresql://deploy@db/app"', repr(as_login["deploy"]))
        exec(compile(code, "least-privilege.md", "exec"), {"campaign": campaign})  # noqa: S102
        with Client(as_login["web"]) as client:
            run = client.start(campaign, 1)
        Worker([campaign], dsn=as_login["worker"]).run(drain=True)
        with Client(as_login["metrics"]) as client:
            assert client.get_run(run).output == {"send": 1}
            with pytest.raises(DatabaseError, match="permission denied"):
                client.start(campaign, 2)
    finally:
        for role in roles:
            conn.execute(f"drop owned by {name}_{role} cascade; drop role {name}_{role}")


def test_the_doctor_tells_a_login_without_a_role_to_get_one(logins: Logins) -> None:
    with psycopg.connect(logins.admin, autocommit=True) as conn:
        name = f"{value(conn, 'select current_database()')}_nobody"
        conn.execute(f"create role {name} login password 'plain'")
        checked, code = examine(make_conninfo(logins.admin, user=name, password="plain"))
        conn.execute(f"drop role {name}")
    (finding,) = checked[-1].findings
    assert (code, checked[-1].check) == (1, "rights")
    assert "is in none of the roles" in finding.what
    assert finding.do == f'as the owner: grant pgflow_worker, pgflow_client to "{name}", or the one it needs'
