"""Jobs: a function as a flow of one step, called now and run by a worker."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

import pgflow
from pgflow import AsyncClient, Client, Context, Worker
from pgflow.cli.flows import find_flows
from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow import Flow
from pgflow.jobs import _OWN
from pgflow.testing import assert_completed, run_inline
from tests.support import value


class Mail(BaseModel):
    to: str
    due: date


@pgflow.job
def send(mail: Mail, copies: int = 1, *, urgent: bool = False) -> list[Any]:
    return [mail.to, mail.due.isoformat(), copies, urgent]


@pgflow.job(slug="asend", max_attempts=1)
async def send_later(ctx: Context, mail: Mail) -> str:
    return f"{mail.to} by {ctx.flow_slug}, attempt {ctx.attempt} of {ctx.max_attempts}"


MAIL = Mail(to="ada", due=date(2026, 12, 24))


async def work_off(dsn: str, *jobs: Flow[Any, Any]) -> None:
    async with Worker(jobs, dsn=dsn) as worker:
        await worker.drained()


def test_called_it_is_the_function() -> None:
    assert send(MAIL, 2) == ["ada", "2026-12-24", 2, False]


async def test_enqueued_a_worker_calls_it_with_the_same_arguments(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        first = await send.aenqueue(MAIL, 3, urgent=True, client=client)
        second = await send.aenqueue(mail=MAIL, client=client)
        third = await send_later.aenqueue(MAIL, client=client)
        await work_off(dsn, send, send_later)
        assert (await client.get_run(first)).output == {"send": ["ada", "2026-12-24", 3, True]}
        assert (await client.get_run(second)).output == {"send": ["ada", "2026-12-24", 1, False]}
        assert (await client.get_run(third)).output == {"asend": "ada by asend, attempt 1 of 1"}


def test_without_a_client_the_environment_says_where(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    run = send.enqueue(MAIL)
    with Client(dsn) as client:
        assert client.get_run(run).input == {"mail": {"to": "ada", "due": "2026-12-24"}}
        assert send.enqueue(MAIL, client=client).run_id != run.run_id


async def test_without_a_client_async_too(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    assert (await send.aenqueue(MAIL)).status == "started"


def test_key_and_delay_are_those_of_a_start(dsn: str) -> None:
    with Client(dsn) as client:
        first = send.enqueue(MAIL, key="xmas", delay=timedelta(hours=1), client=client)
        assert send.enqueue(MAIL, key="xmas", client=client).run_id == first.run_id
        assert client.get_run(first).key == "xmas"


@pytest.mark.parametrize("commits", [True, False])
def test_on_a_connection_it_is_started_if_the_caller_commits(dsn: str, conn: psycopg.Connection, commits: bool) -> None:
    with psycopg.connect(dsn) as own:
        send.enqueue(MAIL, connection=own)
        assert value(conn, "select to_regclass('pgmq.q_send') is null")
        (own.commit if commits else own.rollback)()
    assert value(conn, "select count(*) from pgflow.runs") == int(commits)


def test_it_is_found_by_a_worker_and_run_in_memory(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("import pgflow\n\n@pgflow.job\ndef double(n: int) -> int:\n    return n * 2\n")
    (found,) = find_flows(str(tmp_path / "tasks.py"))
    run = run_inline(found, {"n": 21})
    assert_completed(run)
    assert run.output == {"double": 42}


def test_the_context_may_be_optional() -> None:
    @pgflow.job
    def where(n: int, context: Context | None = None) -> Any:
        return context and context.flow_slug

    run = run_inline(where, {"n": 1})
    assert_completed(run)
    assert run.output == {"where": "where"}
    assert where(1) is None


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "job 'send': missing a required argument: 'mail'"),
        ((MAIL,), {"copys": 2}, "job 'send': got an unexpected keyword argument 'copys'"),
        (({"to": "ada"},), {}, "mail.due"),
        ((MAIL, "many"), {}, "copies"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    dsn: str, conn: psycopg.Connection, args: Any, kwargs: Any, message: str
) -> None:
    with Client(dsn) as client, pytest.raises(InvalidInputError, match=message):
        send.enqueue(*args, **kwargs, client=client)
    assert value(conn, "select count(*) from pgflow.flows") == 0


async def test_each_kind_of_client_has_its_own_call(dsn: str, conn: psycopg.Connection) -> None:
    with Client(dsn) as client, pytest.raises(InvalidInputError, match=r"takes a pgflow.AsyncClient, not .*: enqueue"):
        await send.aenqueue(MAIL, client=client)  # type: ignore[arg-type]
    async with AsyncClient(dsn) as aclient:
        with pytest.raises(InvalidInputError, match=r"takes a pgflow.Client, not .*an AsyncClient: aenqueue"):
            send.enqueue(MAIL, client=aclient)  # type: ignore[arg-type]
    assert value(conn, "select count(*) from pgflow.flows") == 0


def test_a_partial_may_be_a_job() -> None:
    def scaled(n: int, factor: int) -> int:
        return n * factor

    tenfold = pgflow.job(partial(scaled, factor=10))
    assert tenfold.slug == "scaled"
    assert run_inline(tenfold, {"n": 7}).output == {"scaled": 70}
    assert run_inline(tenfold, {"n": 7, "factor": 2}).output == {"scaled": 14}


@pytest.mark.parametrize("given", [3, "send", send])
def test_what_is_no_function_is_no_job(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^@pgflow.job decorates functions, not "):
        pgflow.job(given)


def test_functions_that_cannot_be_jobs_are_refused_with_all_faults() -> None:
    def bad(key: str, *rest: int, **more: int) -> None: ...

    def lazy() -> Iterator[int]:
        yield 1

    with pytest.raises(FlowDefinitionError, match="a generator cannot be a job: return a list instead"):
        pgflow.job(lazy)

    def worse(x: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(FlowDefinitionError) as caught:
        pgflow.job(bad)
    place = f"tests/test_jobs.py:{caught.traceback[0].lineno + 1}: "
    assert caught.value.faults == (
        f"{place}parameter 'key' has a name that enqueue() needs itself",
        f"{place}parameter '*rest' is not allowed: arguments are stored by name",
        f"{place}parameter '**more' is not allowed: arguments are stored by name",
    )
    with pytest.raises(
        FlowDefinitionError, match=r"not well formed: tests/test_jobs\.py:\d+: an annotation names 'Not"
    ):
        pgflow.job(worse)


def test_a_builtin_that_does_not_tell_its_parameters_is_no_job() -> None:
    with pytest.raises(FlowDefinitionError, match="its parameters cannot be read: wrap it in a function"):
        pgflow.job(max)


def test_a_method_is_no_job() -> None:
    with pytest.raises((FlowDefinitionError, RuntimeError)) as caught:  # Python 3.11 wraps what __set_name__ raises

        class Mailer:
            @pgflow.job
            def send(self, to: str) -> None: ...

    refusal = caught.value if isinstance(caught.value, FlowDefinitionError) else caught.value.__cause__
    assert "a job cannot be a method of a class (" in str(refusal)
    assert "Mailer.send): make it a function at the module's level" in str(refusal)


def test_a_class_may_name_a_job_that_was_made_elsewhere() -> None:
    class Jobs:
        mail = send

    assert Jobs.mail is send


def test_wrong_options_are_said_at_first_use_with_the_jobs_own_place_and_decorator() -> None:
    @pgflow.job(retries=3, max_attempt=3, timeout=0, initial_tasks=2)
    def careless(x: int) -> None: ...

    with pytest.raises(FlowDefinitionError) as caught:
        careless.enqueue(1)
    place = f"tests/test_jobs.py:{careless._fn.__code__.co_firstlineno}: step 'careless': "
    unknown, *others = caught.value.faults
    assert unknown.startswith(f"{place}@pgflow.job has no option 'retries'; it has slug, depends_on, max_attempts, ")
    assert others == [
        f"{place}@pgflow.job has no option 'max_attempt'; did you mean 'max_attempts'?",
        f"{place}timeout must be a whole number of at least 1, not 0",
        f"{place}initial_tasks is for maps",
    ]


def test_enqueue_passes_on_whatever_start_takes() -> None:
    taken = set(inspect.signature(Client.start).parameters) - {"self", "flow", "input"}
    assert taken | {"client"} == _OWN
