"""Every text that reaches the database is a parameter or a quoted identifier: nothing in it is ever read as SQL."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import SyntaxErrorOrAccessRuleViolation, UndefinedTable

from pgflow import Client, Flow, Permanent, Worker, calls
from pgflow.errors import FlowDefinitionError, FlowNotFound, InvalidInputError, PgflowError
from pgflow.records import RunStatus
from tests.cli.conftest import app, cli
from tests.schema.catalog import objects
from tests.support import rows

__all__ = ["app", "cli"]

TEXTS = [
    "'; drop table pgflow.runs cascade; --",
    '"; drop schema pgflow cascade; --',
    "x'); delete from pgflow.runs; --",
    "pgmq.q_kept; drop table pgmq.q_kept; --",
    "\\",
    "\\'; select 1/0; --",
    "$q$; drop table pgflow.deps; $q$",
    "$$",
    "%I %L %s %1$I %%",
    "%(dsn)s {dsn} {0}",
    "/* -- */ ;",
    "\u202egnp.exe",
    "a\nb\r\n\tc\x1b[31m",
    "kept\u0000",
    "run",
    "x" * 5000,
]
JSON = {"\"}'; drop table pgflow.runs; --": ["$q$", "\\u0000"[1:], "%I", {"'": '"'}, "\u202e", TEXTS[0]]}


@pytest.fixture
def unharmed(dsn: str, conn: psycopg.Connection) -> Iterator[None]:
    """Afterwards every object is what it was, but for queues that the test made; so is the run of `kept`."""
    conn.execute("select pgflow.create_flow('kept')")
    conn.execute("select pgflow.add_step('kept', 'a')")
    conn.execute("select pgflow.start_flow('kept', '1')")
    kept = """select to_jsonb(r), to_jsonb(t) from pgflow.runs r join pgflow.step_tasks t using (run_id)
               where r.flow_slug = 'kept'"""
    before, run = objects(dsn), rows(conn, kept)
    yield
    changed = objects(dsn) ^ before
    assert [one for one in changed if not re.search("[qa]_(breakable|carried)", " ".join(map(str, one)))] == []
    assert rows(conn, kept) == run


def takes_text(conn: psycopg.Connection) -> list[tuple[str, list[str]]]:
    """The functions with a parameter of text or JSON, internal ones too, and the types of their parameters."""
    return rows(
        conn,
        """select p.proname, array(select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality a(t, n)
                                    order by n)
             from pg_proc p where p.pronamespace = 'pgflow'::regnamespace
              and p.proargtypes::oid[] && array['text', 'text[]', 'jsonb', 'jsonb[]']::regtype[]::oid[] order by 1""",
    )


def argument(kind: str, text: str) -> Any:
    """A value of this type, made of the text where that can be."""
    known = {
        "text": text,
        "text[]": [text, text],
        "jsonb": json.dumps({text: text, "steps": [{"slug": text, "stepType": text, "dependencies": [text]}]}),
        "jsonb[]": [json.dumps(text)],
        "uuid": uuid4(),
        "uuid[]": [uuid4()],
        "integer": 1,
        "bigint[]": [1],
        "integer[]": [1],
        "boolean": True,
    }
    return known.get(kind)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.usefixtures("unharmed")
def test_of_no_function(conn: psycopg.Connection, text: str) -> None:
    functions = takes_text(conn)
    assert len(functions) > 30
    for name, kinds in functions:
        places = ", ".join(f"%s::{kind}" for kind in kinds)
        said = refused_with(conn, f"select pgflow.{name}({places})", [argument(kind, text) for kind in kinds])
        # A name quoted as a whole is one like any other, and merely unknown.
        unknown = isinstance(said, UndefinedTable) and f'relation "pgmq.q_{text.lower()[:50]}' in str(said)
        assert unknown or not isinstance(said, SyntaxErrorOrAccessRuleViolation), (name, said)


def refused_with(conn: psycopg.Connection, sql: str, arguments: list[Any]) -> psycopg.Error | None:
    """The error that a statement ends in; nothing of it stays."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(sql, arguments)
    except psycopg.Error as error:
        return error
    return None


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.usefixtures("unharmed")
def test_of_no_method_of_the_client(dsn: str, text: str) -> None:
    for flow_slug, step_slug in ((text, "a"), ("breakable", text)):
        flow: Flow[Any, Any] = Flow(flow_slug)
        flow.step(slug=step_slug)(lambda flow_input: flow_input)
        with pytest.raises(FlowDefinitionError, match="slug"):
            flow.shape()
    flow = Flow("breakable")
    flow.step(slug="a")(lambda flow_input: flow_input)
    with Client(dsn) as client:
        for call in (client.start, client.pause, client.resume):
            with pytest.raises((FlowNotFound, PgflowError)):
                call(text, *([1] if call == client.start else []))
        if "\0" not in text:
            with pytest.raises(FlowNotFound):
                client.list_runs(text)
            run = client.start(flow, {text: [text]})
            assert client.get_run(run).input == {text: [text]}
            assert client.cancel(run, reason=text).error == f"Cancelled: {text}"
        with pytest.raises((PgflowError, ValueError)):
            client.list_runs(status=text)
        with pytest.raises((PgflowError, ValueError)):
            client.get_run(text)
        with pytest.raises(PgflowError):
            client.rerun(client.start(flow, 1), text)


@pytest.mark.usefixtures("unharmed")
async def test_of_no_value_and_no_error_of_a_handler(dsn: str) -> None:
    flow: Flow[Any, Any] = Flow("carried")
    sayable = [text for text in TEXTS if "\0" not in text]

    @flow.step
    def outputs(flow_input: Any) -> Any:
        return flow_input

    @flow.map(over=outputs, max_attempts=1, when_exhausted="skip")
    def errors(text: Any) -> Any:
        raise Permanent(text)

    async with Worker([flow], dsn=dsn):
        with Client(dsn) as client:
            for text in (*sayable, JSON):
                run = await asyncio.to_thread(client.wait, client.start(flow, [text]), timeout=60)
                assert run.steps["outputs"].output == [text]
                assert str(text)[:1000] in (run.steps["errors"].error_message or "")


def test_a_null_character_is_refused_before_anything_is_written(dsn: str, conn: psycopg.Connection) -> None:
    flow: Flow[Any, Any] = Flow("nul")
    flow.step(slug="a")(lambda flow_input: flow_input)
    with Client(dsn) as client, pytest.raises(InvalidInputError, match="NUL"):
        client.start(flow, {"a": ["b\0"]})
    assert rows(conn, "select from pgflow.runs") == []


@pytest.mark.parametrize("text", [text for text in TEXTS if "\0" not in text])
@pytest.mark.usefixtures("unharmed", "app")
def test_of_no_argument_of_a_command(cli: Callable[..., Any], dsn: str, conn: psycopg.Connection, text: str) -> None:
    ((run_id,),) = rows(conn, "select run_id from pgflow.runs")
    other = str(rows(conn, "select run_id from pgflow.start_flow('kept', '2')")[0][0])
    for arguments in (
        ["start", "--", text, "1"],
        ["start", "--", "kept", text],
        ["show", "--", text],
        ["runs", f"--flow={text}"],
        ["runs", f"--status={text}"],
        ["runs", f"--limit={text}"],
        ["cancel", "--", text],
        ["retry", "--", text],
        ["rerun", "--", str(run_id), text],
        ["rerun", "--", text, "a"],
        ["pause", "--", text],
        ["resume", "--", text],
        ["worker", "--", text],
    ):
        said = cli(f"--dsn={dsn}", *arguments)
        assert said.code in (0, 1, 2), (arguments, said)
        assert "Traceback" not in said.err
        assert len(said.err.splitlines()) <= 1, said.err
    assert cli(f"--dsn={dsn}", "cancel", other, f"--reason={text}").code == 0
    assert rows(conn, "select error_message from pgflow.runs where run_id = %s", other) == [(f"Cancelled: {text}",)]
    conn.execute("delete from pgflow.step_tasks where run_id = %s", (other,))
    conn.execute("delete from pgflow.step_states where run_id = %s", (other,))
    conn.execute("delete from pgflow.runs where run_id = %s", (other,))


def test_no_call_of_pythons_is_put_together_from_what_it_is_given() -> None:
    """The SQL of a call is the same whatever the arguments."""
    for make in (calls.pause_flow, calls.resume_flow):
        assert make(TEXTS[0]).sql == make("x").sql
    assert calls.start_flows(TEXTS[0], [b"1"]).sql == calls.start_flows("x", [b"2"]).sql
    for status in (None, *get_args(RunStatus)):
        assert calls.list_runs(TEXTS[0], status, 1, None).sql == calls.list_runs("x", status, 1, None).sql
