"""client.flows and client.compile: flows that are data, made step by step or as a whole."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, FlowSpec, StepSpec, StoredFlow, Worker
from pgflow.client._async_flows import AsyncFlows
from pgflow.errors import DatabaseError, FlowDefinitionError, FlowMismatch, FlowNotFound, InvalidInputError
from tests.client.conftest import Ask
from tests.support import aeventually, rows, value
from tests.unit.test_shape import rich

REPORT = {
    "slug": "report",
    "max_attempts": 5,
    "base_delay": 0,
    "timeout": 7,
    "steps": [
        {"slug": "fetch", "timeout": 9, "start_delay": 0},
        {
            "slug": "summarize",
            "step_type": "map",
            "depends_on": ["fetch"],
            "handler": "llm",
            "initial_tasks": 3,
            "max_attempts": 2,
            "base_delay": 4,
            "when_exhausted": "skip",
        },
        {
            "slug": "join",
            "depends_on": ["fetch", "summarize"],
            "run_if": {"fetch": ["a"]},
            "run_unless": {"fetch": ["b"]},
            "when_unmet": "skip-cascade",
        },
    ],
}
TABLES = ("flows", "steps", "deps")


def contents(conn: psycopg.Connection) -> Any:
    return [rows(conn, f"select * from pgflow.{table} order by 1, 2, 3") for table in TABLES]


@pytest.fixture
async def flows(dsn: str):
    async with AsyncClient(dsn) as client:
        yield client.flows


async def test_a_flow_is_made_step_by_step(flows: AsyncFlows, conn: psycopg.Connection):
    head = {name: item for name, item in REPORT.items() if name not in ("slug", "steps")}
    assert (await flows.create_flow("report", **head)).steps == ()
    for step in REPORT["steps"]:
        assert await flows.add_step("report", **step) == StepSpec(**step)
    assert await flows.get("report") == FlowSpec.load(REPORT)
    assert value(conn, "select to_regclass('pgmq.q_report') is not null")


def test_the_blocking_twin_does_the_same(dsn: str):
    with Client(dsn) as client:
        client.flows.create_flow("report")
        client.flows.add_step("report", "fetch")
        with pytest.raises(FlowDefinitionError, match="did you mean 'fetch'"):
            client.flows.add_step("report", "rank", depends_on=["fech"])
        with pytest.raises(FlowDefinitionError, match="depends_on: at most 9,999 are allowed"):
            client.flows.add_step("report", "rank", depends_on=[f"s{n}" for n in range(10_000)])
        assert str(client.flows.get("report")) == "report\n└─ fetch"
        assert [flow.flow_slug for flow in client.flows.list()] == ["report"]
        client.flows.delete("report")
        assert client.flows.prune(timedelta()) == []
        with pytest.raises(FlowNotFound):
            client.flows.get("report")


async def test_each_call_can_be_repeated(flows: AsyncFlows, conn: psycopg.Connection):
    for _ in range(2):
        await flows.create_flow("report", max_attempts=3)  # the default, said or not
        await flows.create_flow("report")
        for step in REPORT["steps"]:
            await flows.add_step("report", **step)
        stored = contents(conn)
    assert stored == contents(conn)
    assert value(conn, "select count(*) from pgflow.steps") == 3


BAD_STEPS = [
    ({"slug": "x", "depends_on": ["fech"]}, "step 'x': depends_on[0]: no step 'fech'; did you mean 'fetch'?"),
    ({"slug": "x", "depends_on": ["x"]}, "step 'x': depends_on[0]: a step cannot depend on itself"),
    ({"slug": "x", "depends_on": ["fetch", "rank"], "step_type": "map"}, "step 'x': depends_on: a map has at most one"),
    ({"slug": "x", "depends_on": ["fetch"], "run_if": {"fech": 1}}, "step 'x': run_if.fech: no dependency"),
    ({"slug": "x", "initial_tasks": 1}, "step 'x': initial_tasks: initial_tasks is for maps"),
    ({"slug": "x", "timeout": 0}, "step 'x': timeout: Input should be greater than or equal to 1 (got 0)"),
    (
        {"slug": "x", "jitter": 0.5},
        "step 'x': jitter: this option belongs to the handler, not to the flow's spec: @handlers(…, jitter=…)",
    ),
    ({"slug": "x", "step_typ": "map"}, "step 'x': step_typ: there is no such key; did you mean 'step_type'?"),
    ({"slug": "run"}, "step 'run': slug: step slug 'run' is not valid"),
    ({"slug": "fetch", "timeout": 3}, "step 'fetch': slug: steps[0] has the slug 'fetch' already"),
]


async def test_a_step_that_does_not_fit_leaves_all_as_it_was(flows: AsyncFlows, conn: psycopg.Connection):
    await flows.create_flow("report")
    await flows.add_step("report", "fetch")
    await flows.add_step("report", "rank", depends_on=["fetch"])
    stored = contents(conn)
    for step, message in BAD_STEPS:
        with pytest.raises(FlowDefinitionError) as raised:
            await flows.add_step("report", **step)
        assert message in str(raised.value)
    assert contents(conn) == stored


async def test_a_flow_that_cannot_be_made_leaves_all_as_it_was(flows: AsyncFlows, conn: psycopg.Connection):
    conn.execute("select pgflow.create_flow('coded')")
    await flows.create_flow("report")
    stored = contents(conn)
    for slug, options, error, message in (
        ("re-port", {}, FlowDefinitionError, "slug: flow slug 're-port' is not valid"),
        ("x" * 48, {}, FlowDefinitionError, "48 characters, at most 47 are allowed"),
        ("fine", {"timeout": 0}, FlowDefinitionError, "timeout: Input should be greater than or equal to 1"),
        ("Report", {}, DatabaseError, 'differs only in case from flow "report"'),
        ("report", {"timeout": 5}, InvalidInputError, "is there already, with other options"),
        ("coded", {}, InvalidInputError, "is there already, and comes from code"),
    ):
        with pytest.raises(error) as raised:
            await flows.create_flow(slug, **options)
        assert message in str(raised.value)
    assert contents(conn) == stored


async def test_steps_are_not_added_where_they_would_do_harm(flows: AsyncFlows, conn: psycopg.Connection, dsn: str):
    conn.execute("select pgflow.create_flow('coded')")
    with pytest.raises(InvalidInputError, match='"coded" comes from code'):
        await flows.add_step("coded", "x")
    with pytest.raises(FlowNotFound):
        await flows.add_step("nowhere", "x")
    await flows.create_flow("report")
    await flows.add_step("report", "fetch")
    async with AsyncClient(dsn) as client:
        run = await client.start("report", 1)
        for _ in range(2):  # going on; cancelled, so that it may be retried
            with pytest.raises(InvalidInputError, match='has runs that have not completed and would lack step "late"'):
                await flows.add_step("report", "late", depends_on=["fetch"])
            await client.cancel(run)
    conn.execute("update pgflow.runs set status = 'completed', failed_at = null, completed_at = now()")
    await flows.add_step("report", "late", depends_on=["fetch"])


async def test_a_flow_does_not_grow_without_end(flows: AsyncFlows, conn: psycopg.Connection):
    await flows.create_flow("report")
    conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index) "
        "select 'report', 's' || n, n from generate_series(0, 9998) n"
    )
    await flows.add_step("report", "last", depends_on=["s0"])
    with pytest.raises(InvalidInputError, match='"report" has 10000 steps already: more are not allowed'):
        await flows.add_step("report", "more")
    assert value(conn, "select count(*) from pgflow.steps") == 10_000


async def test_the_list_says_what_goes_on(flows: AsyncFlows, conn: psycopg.Connection, dsn: str):
    assert await flows.list() == []
    await flows.create_flow("made")
    await flows.add_step("made", "only")
    coded: Flow[Any, Any] = Flow("coded")
    coded.step(slug="first")(lambda: 1)
    coded.step(slug="second")(lambda first: 1)
    async with AsyncClient(dsn) as client:
        await client.start_many(coded, [1, 2, 3])
        await client.cancel(await client.start(coded, 4))
        await client.pause(coded)
    conn.execute("select pgflow.create_flow('Queueless')")
    conn.execute("select pgmq.drop_queue('Queueless')")
    async with Worker([coded], dsn=dsn):
        found = {flow.flow_slug: flow for flow in await flows.list()}
    told = {
        slug: (f.steps, f.is_dynamic, f.is_paused, f.unfinished_runs, f.workers, f.queued) for slug, f in found.items()
    }
    assert told == {
        "coded": (2, False, True, 3, 1, 3),
        "made": (1, True, False, 0, 0, 0),
        "Queueless": (0, False, False, 0, 0, 0),
    }
    assert isinstance(found["made"], StoredFlow)
    assert {flow.workers for flow in await flows.list()} == {0}  # it has stopped


async def test_a_flow_is_deleted_with_all_it_has(flows: AsyncFlows, conn: psycopg.Connection, dsn: str):
    async with AsyncClient(dsn) as client:
        await client.compile(FlowSpec.load(REPORT))
        await client.start("report", 1)
    await flows.delete("report")
    assert contents(conn) == [[], [], []]
    assert value(conn, "select count(*) from pgflow.runs") == 0
    assert value(conn, "select to_regclass('pgmq.q_report') is null and to_regclass('pgmq.a_report') is null")
    for method in ("delete", "get"):
        with pytest.raises(FlowNotFound):
            await getattr(flows, method)("report")


async def test_flows_that_are_data_and_unused_are_pruned(flows: AsyncFlows, conn: psycopg.Connection, dsn: str):
    async with AsyncClient(dsn) as client:
        for slug in ("used", "scheduled", "new", "old", "older"):
            await client.compile(FlowSpec(slug=slug, steps=[StepSpec(slug="only")]))
        await client.compile(rich())  # from code
        await client.start("used", 1)
        await client.schedules.add("nightly", "scheduled", "0 3 * * *")
    conn.execute("update pgflow.flows set created_at = now() - interval '9 days'")
    conn.execute("update pgflow.flows set dynamic_at = created_at where flow_slug not in ('new', 'rich')")
    assert await flows.prune(timedelta(days=10)) == []
    kept = ["new", "rich", "scheduled", "used"]
    assert await flows.prune(timedelta(days=8), dry_run=True) == ["old", "older"]
    assert value(conn, "select count(*) from pgflow.flows") == 6
    assert await flows.prune(timedelta(days=8)) == ["old", "older"]
    assert value(conn, "select array_agg(flow_slug order by flow_slug) from pgflow.flows") == kept
    assert value(conn, "select to_regclass('pgmq.q_old') is null")


@pytest.mark.parametrize("age", [timedelta(days=-1), timedelta.max, 5, "30d", None])
async def test_what_is_no_age_prunes_nothing(ask: Ask, flows: AsyncFlows, conn: psycopg.Connection, age: Any):
    await flows.create_flow("made")
    for prune in (flows.prune(age), flows.prune(age, dry_run=True), ask("prune", age)):
        with pytest.raises(InvalidInputError, match="older_than must be an age, at most 365,000 days, not"):
            await prune
    assert [flow.flow_slug for flow in await flows.list()] == ["made"]


def test_nor_does_the_database_itself_by_an_age_below_0(conn: psycopg.Connection):
    conn.execute("select pgflow.create_dynamic_flow('made')")
    with pytest.raises(psycopg.errors.RaiseException, match="retention_interval must be an age, not -1 days"):
        conn.execute("select pgflow.prune_dynamic_flows('-1 day')")
    assert value(conn, "select count(*) from pgflow.flows") == 1


async def test_a_flow_that_is_scheduled_while_it_is_pruned_stays(flows: AsyncFlows, conn: psycopg.Connection):
    await flows.create_flow("racing")
    conn.execute("update pgflow.flows set dynamic_at = now() - interval '9 days'")
    with conn.transaction():
        conn.execute("select from pgflow.flows for key share")
        conn.execute("select pgflow.add_schedule('s', 'racing', '* * * * *')")
        assert await flows.prune(timedelta(days=8)) == []  # passed over: it is held
    assert await flows.prune(timedelta(days=8)) == []


# ------------------------------------------------------------------------------------ compile


async def test_a_spec_is_stored_verified_updated_and_replaced(ask: Ask, conn: psycopg.Connection):
    spec = FlowSpec.load(REPORT)
    assert await ask("compile", spec) == "compiled"
    assert await ask("compile", spec) == "verified"
    first, second, third = REPORT["steps"]
    other = [{**first, "timeout": 5}, {**second, "handler": None}, third]
    changed = FlowSpec.load({**REPORT, "max_attempts": None, "steps": other})
    assert await ask("compile", changed) == "updated"
    assert await ask("compile", changed) == "verified"
    assert rows(conn, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows") == [(3, 0, 7)]
    assert rows(conn, "select opt_timeout, handler from pgflow.steps order by step_index") == [
        (5, None), (None, None), (None, None),
    ]  # fmt: skip
    for change in ({"initial_tasks": None}, {"step_type": "single", "initial_tasks": None}, {"when_exhausted": "fail"}):
        differing = FlowSpec.load({**REPORT, "steps": [first, {**second, **change}, third]})
        with pytest.raises(FlowMismatch, match="pgflow compile"):
            await ask("compile", differing)
        assert await ask("compile", differing, replace=True) == "recompiled"
        assert await ask("compile", differing) == "verified"
    assert value(conn, "select dynamic_at is not null from pgflow.flows")


async def test_what_is_stored_comes_back_whole(ask: Ask, dsn: str):
    async with AsyncClient(dsn) as client:
        for spec in (FlowSpec.load(REPORT), FlowSpec.of(rich())):
            await ask("compile", spec)
            assert (await client.flows.get(spec.slug)).shape() == spec.shape()
            assert await client.flows.get(spec) == await client.flows.get(spec.slug)
        assert (await client.flows.get(rich())).shape() == rich().shape()
        with pytest.raises(InvalidInputError, match="the slug of a stored one, not 5"):
            await client.flows.get(5)  # type: ignore[arg-type]


async def test_a_flow_of_code_and_one_of_data_may_be_the_same(ask: Ask, conn: psycopg.Connection):
    flow = rich()
    assert await ask("compile", flow) == "compiled"
    assert value(conn, "select dynamic_at is null from pgflow.flows")
    assert await ask("compile", FlowSpec.of(flow)) == "verified"
    assert value(conn, "select dynamic_at is not null from pgflow.flows")
    assert await ask("compile", flow) == "verified"


async def test_the_sql_of_a_spec_stores_it_as_data(conn: psycopg.Connection, dsn: str):
    conn.execute(FlowSpec.load(REPORT).sql())
    async with AsyncClient(dsn) as client:
        assert await client.flows.get("report") == FlowSpec.load(REPORT)
        assert await client.compile(FlowSpec.load(REPORT)) == "verified"
        assert [flow.is_dynamic for flow in await client.flows.list()] == [True]


# ------------------------------------------------------------------------------------ races


async def test_a_run_is_never_started_without_a_step_that_is_being_added(conn: psycopg.Connection, dsn: str):
    conn.execute("select pgflow.create_dynamic_flow('racing')")
    conn.execute("""select pgflow.add_dynamic_step('racing', '{"slug": "a", "stepType": "single"}')""")
    async with AsyncClient(dsn) as client:
        with conn.transaction():
            conn.execute("""select pgflow.add_dynamic_step('racing', '{"slug": "b", "stepType": "single"}')""")
            starting = asyncio.create_task(client.start("racing", 1))
            await aeventually(lambda: waiting(conn))
        run = await client.get_run(await starting)
    assert (list(run.steps), run.remaining_steps) == (["a", "b"], 2)


async def test_a_step_is_not_added_to_a_flow_of_which_a_run_is_being_started(conn: psycopg.Connection, dsn: str):
    conn.execute("select pgflow.create_dynamic_flow('racing')")
    conn.execute("""select pgflow.add_dynamic_step('racing', '{"slug": "a", "stepType": "single"}')""")
    async with AsyncClient(dsn) as client:
        with conn.transaction():
            conn.execute("select pgflow.start_flow('racing', '1')")
            adding = asyncio.create_task(client.flows.add_step("racing", "b"))
            await aeventually(lambda: waiting(conn))
        with pytest.raises(InvalidInputError, match="has runs that have not completed"):
            await adding
    assert value(conn, "select count(*) from pgflow.steps") == 1


async def test_two_who_add_the_same_step_add_it_once(dsn: str, conn: psycopg.Connection):
    async with AsyncClient(dsn) as client:
        await client.flows.create_flow("racing")
        added = [client.flows.add_step("racing", f"s{n % 4}", timeout=n % 4 + 1) for n in range(16)]
        await asyncio.gather(*added)
    assert rows(conn, "select step_index from pgflow.steps order by 1") == [(0,), (1,), (2,), (3,)]


def waiting(conn: psycopg.Connection) -> bool:
    """Whether somebody waits for a lock in this database."""
    conn.execute("select pg_stat_clear_snapshot()")
    sql = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    return bool(value(conn, sql))
