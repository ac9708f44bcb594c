"""Workers of handlers by name: they serve flows that are data, and that come and go."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, FlowSpec, Handlers, Permanent, Worker, aexecute_dynamic
from pgflow.errors import ExecutorError, FlowDefinitionError
from pgflow.worker import roster
from tests.executors import flows
from tests.support import aeventually, rows, value
from tests.worker.test_waking import idle

#: Stored flows are not announced any more.
QUIET = """
    create or replace function pgflow._announce_flow(p_flow_slug text) returns void language sql as $$
      update pgflow.flows set dynamic_at = clock_timestamp() where flow_slug = p_flow_slug
    $$"""


def made(slug: str, *steps: dict[str, Any], **more: Any) -> FlowSpec:
    return FlowSpec.load({"slug": slug, "base_delay": 0, "steps": list(steps), **more})


def handlers(**functions: Any) -> Handlers:
    found = Handlers()
    for name, fn in functions.items():
        found(name)(fn)
    return found


async def finished(client: AsyncClient, slug: str, input: Any = None) -> Any:
    run = await client.wait(await client.start(slug, input), timeout=60)
    assert run.status == "completed", run
    return run.output


async def test_a_flow_that_is_data_is_worked_on_by_names(dsn: str):
    tools = Handlers()

    @tools("split")
    def _(input: dict[str, Any]) -> list[str]:
        return input["text"].split()

    @tools("shout")
    async def _(input: Any, flow_input: dict[str, Any], ctx: Context) -> str:
        return f"{input}{flow_input['mark']}{ctx.step_slug}{ctx.task_index}"

    @tools("join")
    def _(first: list[str], deps: dict[str, Any]) -> str:
        return " ".join(first + deps["second"])

    spec = made(
        "words",
        {"slug": "split"},
        {"slug": "first", "step_type": "map", "depends_on": ["split"], "handler": "shout"},
        {"slug": "second", "step_type": "map", "depends_on": ["first"], "handler": "shout"},
        {"slug": "joined", "handler": "join", "depends_on": ["first", "second"]},
        {"slug": "tail", "handler": "shout", "depends_on": ["split"]},
    )
    async with Worker([tools], dsn=dsn), AsyncClient(dsn) as client:
        await client.compile(spec)
        assert await finished(client, "words", {"text": "a b", "mark": "!"}) == {
            "joined": "a!first0 b!first1 a!first0!second0 b!first1!second1",
            "tail": "{'split': ['a', 'b']}!tail0",
        }


@pytest.mark.parametrize("when", ["before", "after", "unannounced"])
async def test_a_flow_is_served_whenever_it_was_stored(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, when: str
):
    monkeypatch.setattr(roster, "_INTERVAL", 0.2 if when == "unannounced" else 600)
    if when == "unannounced":
        conn.execute(QUIET)
    async with AsyncClient(dsn) as client:
        if when == "before":
            await client.compile(made("late", {"slug": "only"}))
        async with Worker([handlers(only=lambda input: input)], dsn=dsn) as worker:
            await idle(worker)
            if when != "before":
                await client.compile(made("late", {"slug": "only"}))
            assert await finished(client, "late", 5) == {"only": 5}


async def test_a_flow_that_is_made_step_by_step_is_served_as_it_grows(dsn: str):
    async with Worker([handlers(a=lambda: 1, b=lambda a: a + 1)], dsn=dsn), AsyncClient(dsn) as client:
        await client.flows.create_flow("growing")
        await client.flows.add_step("growing", "a")
        assert await finished(client, "growing") == {"a": 1}
        await client.flows.add_step("growing", "b", depends_on=["a"])
        assert await finished(client, "growing") == {"b": 2}


async def test_what_replaces_a_flow_is_worked_on_by_its_own_handlers(dsn: str, conn: psycopg.Connection):
    """However late the worker hears of it: the name comes with the task."""
    conn.execute(QUIET)
    tools = handlers(one=lambda input: 1, two=lambda input: 2, each=lambda input: [input])
    async with Worker([tools], dsn=dsn), AsyncClient(dsn) as client:
        await client.compile(made("f", {"slug": "s", "handler": "one"}))
        conn.execute("notify pgflow_work, '+f'")
        assert await finished(client, "f", [7]) == {"s": 1}
        await client.compile(made("f", {"slug": "s", "handler": "two"}))
        assert await finished(client, "f", [7]) == {"s": 2}
        await client.compile(made("f", {"slug": "s", "handler": "each", "step_type": "map"}), replace=True)
        assert await finished(client, "f", [7]) == {"s": [[7]]}


async def test_flows_that_lack_handlers_are_left_alone_and_named_once(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(roster, "_INTERVAL", 0.05)
    caplog.set_level(logging.INFO, "pgflow.worker")
    async with AsyncClient(dsn) as client:
        await client.compile(made("partly", {"slug": "known"}, {"slug": "unknwon", "depends_on": ["known"]}))
        await client.compile(made("unfit", {"slug": "needy"}))
        await client.compile(made("foreign", {"slug": "stranger"}))
        await client.compile(made("good", {"slug": "known"}))
        runs = [await client.start(slug, 1) for slug in ("partly", "unfit", "foreign")]
        tools = handlers(known=lambda: 1, unknown=lambda: 2, needy=lambda friend: friend)
        async with Worker([tools], dsn=dsn, poll_interval=0.05):
            for _ in range(3):
                await finished(client, "good")
        assert [(await client.get_run(run)).status for run in runs] == ["started"] * 3
    assert value(conn, "select sum(attempts_count) from pgflow.step_tasks where flow_slug <> 'good'") == 0
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(warned) == [
        "flow partly is not served: step 'unknwon' needs a handler 'unknwon'; did you mean 'unknown'?",
        "flow unfit is not served: step 'needy' does not depend on 'friend', which handler 'needy' takes",
    ]
    assert [r.getMessage() for r in caplog.records if "serving" in r.getMessage()] == ["serving flow good"]


async def test_a_task_that_no_handler_fits_goes_back_unharmed(dsn: str, conn: psycopg.Connection):
    """A step that came behind our back: its flow is looked at again before more of it is taken."""
    async with Worker([handlers(a=lambda: 1, later=lambda: 2)], dsn=dsn), AsyncClient(dsn) as client:
        await client.compile(made("f", {"slug": "a"}))
        assert await finished(client, "f") == {"a": 1}
        conn.execute("select pgflow.add_step('f', 'behind', '{a}')")  # nobody is told
        run = await client.start("f", None)
        task = "select status, attempts_count, fence from pgflow.step_tasks where step_slug = 'behind'"
        await aeventually(lambda: [(s, n) for s, n, fence in rows(conn, task) if fence > 0] == [("queued", 0)])
        fence = rows(conn, task)[0][2]
        await asyncio.sleep(0.5)  # it is not taken again and again
        assert rows(conn, task)[0][2] <= fence + 1
        assert (await client.get_run(run)).status == "started"
        await client.compile(made("g", {"slug": "later"}))
        assert await finished(client, "g") == {"later": 2}
        conn.execute("update pgflow.steps set handler = 'later' where step_slug = 'behind'")
        conn.execute("update pgflow.flows set dynamic_at = clock_timestamp() where flow_slug = 'f'")
        conn.execute("notify pgflow_work, '+f'")
        assert (await client.wait(run, timeout=60)).output == {"behind": 2}


async def test_flows_of_functions_and_of_names_side_by_side(dsn: str, conn: psycopg.Connection):
    coded: Flow[Any, Any] = Flow("coded")
    coded.step(slug="only")(lambda: "by its own function")
    foreign: Flow[Any, Any] = Flow("foreign")
    foreign.step(slug="only")(lambda: "another worker's")
    async with AsyncClient(dsn) as client:
        await client.compile(foreign)  # of code: not ours, though all its steps' names are
        run = await client.start(foreign, 1)
        async with Worker([coded, handlers(only=lambda: "by name"), handlers(more=lambda: 1)], dsn=dsn) as worker:
            await client.compile(made("data", {"slug": "only"}, {"slug": "more"}))
            assert await finished(client, "data") == {"only": "by name", "more": 1}
            assert await finished(client, "coded") == {"only": "by its own function"}
            served = "select queue_name from pgflow.workers where worker_id = %s"
            assert value(conn, served, worker.worker_id) == "coded,data"
            await client.flows.delete("data")
            await client.compile(made("next", {"slug": "only"}))
            assert await finished(client, "next") == {"only": "by name"}
            await aeventually(lambda: value(conn, served, worker.worker_id) == "coded,next")
        assert (await client.get_run(run)).status == "started"


async def test_many_flows_come_and_go_while_the_worker_works(dsn: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pgflow.worker.attention._MOST", 2)  # more than these are many
    async with Worker([handlers(only=lambda input: input)], dsn=dsn, poll_interval=600), AsyncClient(dsn) as client:
        for start in (0, 4):
            specs = [made(f"flow_{n}", {"slug": "only"}) for n in range(start, start + 4)]
            for spec in specs:
                await client.compile(spec)
            runs = [await client.start(spec.slug, n) for n, spec in enumerate(specs)]
            outputs = [(await client.wait(run, timeout=60)).output["only"] for run in runs]
            assert outputs == list(range(4))
            for spec in specs[1:]:
                await client.flows.delete(spec.slug)


async def test_what_handlers_raise_means_what_it_means_elsewhere(dsn: str):
    async def flaky(ctx: Context) -> int:
        if ctx.attempt < 2:
            raise ValueError("again")
        raise Permanent("enough")

    async with Worker([handlers(flaky=flaky)], dsn=dsn), AsyncClient(dsn) as client:
        await client.compile(made("f", {"slug": "flaky", "max_attempts": 9}))
        run = await client.wait(await client.start("f", None), timeout=60)
    assert (run.status, run.failed_task.attempt, run.error) == ("failed", 2, "Permanent: enough")


async def ended(client: AsyncClient, slug: str, input: Any) -> Any:
    """The error of a run, or its output; and how often its first task was tried."""
    run = await client.wait(await client.start(slug, input), timeout=60)
    return run.error or run.output, run.failed_task.attempt if run.failed_task else None


async def test_what_a_handler_says_of_executors_and_retries_is_heeded(dsn: str):
    base = {"max_attempts": 3, "base_delay": 0}
    names = ("elsewhere", "choosy", "pooled_pick")
    each = {"slug": "each", "handler": "elsewhere", "step_type": "map", "depends_on": ["elsewhere"]}
    with ThreadPoolExecutor(1) as pool:
        more = {"executors": {"pool": pool}, "handler_processes": 1}
        async with Worker([flows.tools], dsn=dsn, **more), AsyncClient(dsn) as client:
            for name in names:
                await client.compile(made(name, {"slug": name, **base}, *([each] if name == "elsewhere" else [])))
            output, _ = await ended(client, "elsewhere", 7)
            first = [item[0] for item in output["each"]]
            assert first[:2] == [7, "elsewhere"]
            assert {item[2] for item in output["each"]} == {first[2]}
            assert first[2] != os.getpid()
            assert await ended(client, "choosy", "busy") == ("Busy: busy", 1)
            assert await ended(client, "choosy", "wrong") == ("KeyError: 'wrong'", 1)
            assert await ended(client, "choosy", "later") == ({"choosy": 2}, None)
            assert await ended(client, "pooled_pick", "busy") == ({"pooled_pick": 2}, None)
            assert await ended(client, "pooled_pick", "wrong") == ("KeyError: 'wrong'", 1)


async def test_execute_dynamic_heeds_them_too(dsn: str, conn: psycopg.Connection):
    async with AsyncClient(dsn) as client:
        await client.compile(made("f", {"slug": "elsewhere"}, {"slug": "pooled_pick"}, {"slug": "end"}))
    with ThreadPoolExecutor(1) as pool:
        functions = {**flows.tools, "end": flows.end}
        output = await aexecute_dynamic("f", "later", functions, dsn=dsn, executors={"pool": pool})
    assert output["elsewhere"][:2] == ["later", "elsewhere"]
    assert output["elsewhere"][2] != os.getpid()
    assert output["pooled_pick"] == 2


async def test_a_transactional_handler_works_where_its_flow_is_known(dsn: str, conn: psycopg.Connection):
    conn.execute("create table told (what text)")
    tools = Handlers()

    @tools("tell", transactional=True)
    async def tell(input: str, ctx: Context) -> str:
        await ctx.connection.execute("insert into told values (%s)", (input,))
        if ctx.attempt == 1:
            raise ValueError
        return input

    with pytest.raises(FlowDefinitionError, match="handler 'tell': transactional=True needs to know the whole flow"):
        Worker([tools], dsn=dsn)
    spec = made("f", {"slug": "tell"})
    async with AsyncClient(dsn) as client:
        await client.compile(spec)
        assert await aexecute_dynamic("f", "once", tools, dsn=dsn) == {"tell": "once"}
        async with Worker([Flow.of(spec, tools)], dsn=dsn):
            assert await finished(client, "f", "twice") == {"tell": "twice"}
    assert rows(conn, "select what from told order by 1") == [("once",), ("twice",)]


def test_executors_that_are_not_there_or_find_nothing_are_refused_before_any_io():
    tools = Handlers()
    tools("a", executor="process")(lambda: 1)
    with pytest.raises(ExecutorError, match="handler 'a' runs in other processes, which cannot find the Handlers: ass"):
        Worker([tools])
    with pytest.raises(ExecutorError, match="handler 'pooled_pick' asks for executor 'pool', but the worker has 'proc"):
        Worker([flows.tools])


async def test_several_workers_share_a_flow_of_names(dsn: str):
    both = threading.Barrier(2, timeout=30)

    def meet(input: int, ctx: Context) -> str:
        both.wait()
        return str(ctx.worker_id)

    async with AsyncClient(dsn) as client:
        await client.compile(made("f", {"slug": "meet", "step_type": "map", "initial_tasks": 2, "max_attempts": 1}))
        options = {"dsn": dsn, "concurrency": 1, "poll_interval": 0.02}
        async with Worker([handlers(meet=meet)], **options), Worker([handlers(meet=meet)], **options):
            assert len(set((await finished(client, "f"))["meet"])) == 2


def test_what_a_worker_cannot_work_with_is_refused():
    with pytest.raises(FlowDefinitionError, match=r"handler 'bad': parameter '\*args'"):
        Worker([handlers(bad=lambda *args: 1)])
    with pytest.raises(ValueError, match="there is a handler 'a' already"):
        Worker([handlers(a=lambda: 1), handlers(a=lambda: 2)])
    with pytest.raises(ValueError, match="at least one flow, or handlers"):
        Worker([])
    with pytest.raises(ValueError, match="handlers by name need core='own'"):
        Worker([handlers(a=lambda: 1)], core="foreign")
