"""What a worker is told of a core, or of a flow, that it cannot work with; nothing is written then."""

from __future__ import annotations

import psycopg
import pytest

from pgflow import Client, Context, Flow, Worker, schema
from pgflow.config import SettingsError
from pgflow.errors import FlowDefinitionError, FlowMismatch, SchemaError
from tests.foreign import npm
from tests.foreign.cores import REALTIME, install_pgflow
from tests.foreign.support import work
from tests.support import rows, value
from tests.worker.support import one_task_flow


async def refused(dsn: str, flow: Flow, **options: str) -> None:
    async with Worker([flow], dsn=dsn, **{"core": "foreign", **options}):
        pytest.fail("the worker started")


# ---------------------------------------------------------------------------------------- cores


def test_a_core_that_nobody_knows() -> None:
    with pytest.raises(SettingsError, match="core must be 'own' or 'foreign', not 'typescript'"):
        Worker([one_task_flow(lambda: 1)], core="typescript")


def test_the_embedded_database_is_no_foreign_one() -> None:
    with pytest.raises(SettingsError, match="core='foreign' needs the address of a database"):
        Worker([one_task_flow(lambda: 1)], core="foreign")


async def test_our_own_core_is_no_foreign_one(dsn: str, conn: psycopg.Connection) -> None:
    with pytest.raises(SchemaError, match="is py-pgflow's own: leave out --core=foreign"):
        await refused(dsn, one_task_flow(lambda: 1))
    assert value(conn, "select count(*) from pgflow.flows") == 0


async def test_an_empty_database_has_no_core(empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="no pgflow schema: install pgflow's own there first") as caught:
        await refused(empty_dsn, one_task_flow(lambda: 1))
    assert "leave out --core=foreign and run `pgflow migrate`" in str(caught.value)


async def test_a_foreign_core_is_not_ours_and_the_option_is_named(
    foreign_dsn: str, foreign: psycopg.Connection
) -> None:
    before = rows(foreign, "select oid, proname from pg_proc where pronamespace = 'pgflow'::regnamespace order by 1")
    with pytest.raises(SchemaError, match="or work it as it is with `pgflow worker --core=foreign`"):
        await refused(foreign_dsn, one_task_flow(lambda: 1), core="own")
    with pytest.raises(SchemaError, match="--core=foreign"), Client(foreign_dsn):
        pytest.fail("the client opened")
    with pytest.raises(SchemaError, match="--core=foreign"):
        schema.migrate(foreign_dsn)
    after = rows(foreign, "select oid, proname from pg_proc where pronamespace = 'pgflow'::regnamespace order by 1")
    assert after == before
    assert value(foreign, "select count(*) from pgflow.flows") == 0


@pytest.mark.slow
async def test_a_core_before_0_8_is_too_old(empty_dsn: str) -> None:
    older = [migration for migration in npm.migrations() if migration.name < "20251006"]
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(REALTIME)
        install_pgflow(connection, older)
    with pytest.raises(SchemaError, match=r"lacks task_index: it is older than pgflow 0\.8; upgrade it"):
        await refused(empty_dsn, one_task_flow(lambda: 1))


# ---------------------------------------------------------------------------------------- flows


async def test_a_flow_that_is_missing_is_stored(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    flow: Flow = Flow("made", max_attempts=7)
    flow.step(slug="first", timeout=11)(lambda: [1, 2])
    flow.map(over="first", slug="second")(lambda element: element)
    for _ in range(2):
        assert (await work(foreign_dsn, foreign, flow)).output == {"second": [1, 2]}
    assert value(foreign, "select opt_max_attempts from pgflow.flows") == 7
    stored = rows(foreign, "select step_slug, step_type, deps_count, opt_timeout from pgflow.steps order by step_index")
    assert stored == [("first", "single", 0, 11), ("second", "map", 1, None)]


async def test_a_flow_that_differs_is_refused_and_never_replaced(foreign_dsn: str, foreign: psycopg.Connection) -> None:
    foreign.execute("select pgflow.create_flow('changed')")
    for slug, deps, kind in (("a", [], "single"), ("b", ["a"], "map"), ("c", ["a"], "single"), ("e", [], "single")):
        foreign.execute("select pgflow.add_step('changed', %s, %s::text[], step_type => %s)", [slug, deps, kind])
    flow: Flow = Flow("changed")
    flow.step(slug="a")(lambda: [1])
    flow.step(slug="b")(lambda a: a)
    flow.step(slug="c")(lambda: 1)
    flow.step(slug="d")(lambda: 1)
    with pytest.raises(FlowMismatch, match="make the code fit, or give it a slug of its own") as caught:
        await refused(foreign_dsn, flow)
    assert caught.value.differences == (
        "step 'e' is in the database, but not in the code",
        "step 'b' is a single step in the code, a map step in the database",
        "step 'c' depends on [] in the code, on ['a'] in the database",
        "step 'd' is in the code, but not in the database",
    )
    assert value(foreign, "select count(*) from pgflow.steps") == 4


async def test_conditions_are_stored_where_the_core_has_them(
    foreign_dsn: str, foreign: psycopg.Connection, version: str
) -> None:
    flow: Flow = Flow("conditional")
    flow.step(slug="always")(lambda flow_input: flow_input)
    flow.step(slug="sometimes", run_if={"rate": "100 %"})(lambda flow_input: 1)
    if version == "0.8.1":
        with pytest.raises(
            SchemaError, match=r"flow 'conditional' uses what the installed pgflow does not have: .*add_"
        ):
            await refused(foreign_dsn, flow)
        assert value(foreign, "select count(*) from pgflow.flows") == 0
        return
    assert (await work(foreign_dsn, foreign, flow, {"rate": "100 %"})).output["sometimes"] == 1
    assert (await work(foreign_dsn, foreign, flow, {"rate": "99 %"})).output == {"always": {"rate": "99 %"}}


def test_a_declared_number_of_tasks_is_ours_alone() -> None:
    flow: Flow = Flow("declared")
    flow.map(slug="each", initial_tasks=3)(lambda n: n)
    with pytest.raises(FlowDefinitionError, match="initial_tasks, which py-pgflow's own core alone knows"):
        Worker([flow], dsn="postgresql://127.0.0.1:1/nowhere", core="foreign")


def test_so_are_transactional_steps() -> None:
    flow: Flow = Flow("transactional")

    @flow.step(transactional=True)
    async def pay(flow_input: int, ctx: Context) -> int:
        return flow_input

    with pytest.raises(FlowDefinitionError, match="transactional, which py-pgflow's own core alone knows"):
        Worker([flow], dsn="postgresql://127.0.0.1:1/nowhere", core="foreign")


def test_schedules_are_ours_alone() -> None:
    flow: Flow = Flow("scheduled")
    flow.step(slug="only")(lambda: 1)
    flow.schedule("* * * * *")
    with pytest.raises(FlowDefinitionError, match="it has schedules, which py-pgflow's own core alone knows"):
        Worker([flow], dsn="postgresql://127.0.0.1:1/nowhere", core="foreign")
