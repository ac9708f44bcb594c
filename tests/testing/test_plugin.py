"""The pytest plugin in sessions of their own: its fixtures, its processes, what it costs those who do not use it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
LOOP = ("-o", "asyncio_default_fixture_loop_scope=function")

FLOW = """
from datetime import UTC, datetime, timedelta
import pytest
from pgflow import AsyncClient, Flow, RetryAfter
from pgflow.testing import assert_completed, assert_steps

tries = []
flow = Flow("greeting", base_delay=600, max_attempts=3)

@flow.step
def greet(flow_input: str) -> str:
    tries.append(flow_input)
    if flow_input == "twice" and len(tries) < 3:
        raise OSError("not yet")
    return f"Hello, {flow_input}!"
"""


@pytest.fixture
def sub(pytester: pytest.Pytester, server: str, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Sessions on this session's server: one more would only take time."""
    monkeypatch.setenv("PGFLOW_TEST_DSN", server)
    return pytester


def test_a_client_starts_a_worker_drains_and_a_clock_passes_over_delays(sub: pytest.Pytester) -> None:
    sub.makepyfile(
        FLOW
        + """
def test_retries(pgflow_client, pgflow_worker, pgflow_clock):
    run = pgflow_client.start(flow, "twice")
    pgflow_worker(flow)
    assert (pgflow_client.get_run(run).status, len(tries)) == ("started", 1)
    pgflow_clock.advance(1190)
    pgflow_worker(flow)
    assert len(tries) == 1
    pgflow_clock.advance(timedelta(seconds=10))
    pgflow_worker(flow)
    pgflow_clock.advance(2400)
    pgflow_worker(flow)
    run = pgflow_client.get_run(run)
    assert_completed(run)
    assert len(tries) == 3
    assert datetime.now(UTC) - run.started_at > timedelta(seconds=3600)

def test_later_starts(pgflow_client, pgflow_worker, pgflow_clock):
    later = pgflow_client.start(flow, "a", delay=3600)
    at = pgflow_client.start(flow, "b", at=datetime.now(UTC) + timedelta(days=1))
    pgflow_worker(flow)
    pgflow_clock.advance(3600)
    pgflow_worker(flow)
    assert [pgflow_client.get_run(run).status for run in (later, at)] == ["completed", "started"]
    pgflow_clock.advance(timedelta(days=1))
    pgflow_worker(flow)
    assert pgflow_client.get_run(at).status == "completed"

def test_start_delays(pgflow_client, pgflow_worker, pgflow_clock):
    slow = Flow("slow")
    slow.step(slug="first")(lambda: 1)
    slow.step(slug="second", depends_on=["first"], start_delay=7200)(lambda: 2)
    run = pgflow_client.start(slow, None)
    pgflow_worker(slow)
    assert_steps(pgflow_client.get_run(run), {"first": "completed", "second": "started"})
    pgflow_clock.advance(7200)
    pgflow_worker(slow)
    assert_completed(pgflow_client.get_run(run))

def test_schedules(pgflow_client, pgflow_worker, pgflow_clock):
    daily = Flow("daily")
    daily.step(slug="only")(lambda: 1)
    daily.schedule("0 9 * * *", input=None)
    for days in range(4):
        pgflow_worker(daily)
        assert [run.status for run in pgflow_client.list_runs(daily)] == ["completed"] * days
        pgflow_clock.advance(timedelta(days=1))

async def test_within_an_event_loop(pgflow_dsn, pgflow_worker):
    async with AsyncClient(pgflow_dsn) as client:
        run = await client.start(flow, "Ada")
        pgflow_worker(flow)
        assert (await client.get_run(run)).output == {"greet": "Hello, Ada!"}

@pytest.mark.parametrize("seconds", [-1, float("nan"), "x"])
def test_backwards(pgflow_clock, seconds):
    with pytest.raises(ValueError, match="goes forward only"):
        pgflow_clock.advance(seconds)

def test_nothing_is_left_by_others(pgflow_client):
    assert pgflow_client.list_runs() == []
"""
    )
    sub.runpytest_inprocess("-q", "-o", "asyncio_mode=auto", *LOOP, "-p", "no:cacheprovider").assert_outcomes(passed=9)


def test_differences_can_be_read(sub: pytest.Pytester) -> None:
    sub.makepyfile(
        FLOW
        + """
from pgflow.testing import run_inline

broken = Flow("broken", max_attempts=1)
broken.step(slug="fetch")(lambda: 1)

@broken.step
def report(fetch: int) -> None:
    raise ValueError("no paper")

def test_it():
    assert_completed(run_inline(broken, None))

def test_steps():
    assert_steps(run_inline(broken, None), {"fetch": "completed", "report": "skipped", "reprot": "completed"})

def test_listed(pgflow_client):
    pgflow_client.start(broken, None)
    assert_steps(pgflow_client.list_runs()[0], {"fetch": "completed"})
"""
    )
    result = sub.runpytest_inprocess("-q", "-o", "asyncio_mode=auto", *LOOP, "-p", "no:cacheprovider")
    result.assert_outcomes(failed=3)
    result.stdout.re_match_lines(
        [
            r"E +AssertionError: run \S+ of flow 'broken' is failed",
            r"E +error: report, task 0, attempt 1: ValueError: no paper",
            r"E +all steps: fetch completed, report failed",
            r"E +AssertionError: steps of run \S+ of flow 'broken' differ \(- expected, \+ found\):",
            r"E +fetch: completed",
            r"E +- report: skipped",
            r"E +\+ report: failed",
            r"E +- reprot: completed",
            r"E +\+ reprot: not a step of the flow",
            r"E +AssertionError: this snapshot of run \S+ has no steps: get one by client.get_run\(run\)",
        ]
    )
    assert "src/pgflow/testing/assertions.py" not in result.stdout.str()


@pytest.mark.slow
def test_processes_of_xdist_share_one_server_that_is_gone_afterwards(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGFLOW_TEST_DSN", raising=False)
    monkeypatch.delenv("PGFLOW_TEST_DIRECTORY", raising=False)
    pytester.makepyfile(
        FLOW
        + """
@pytest.mark.parametrize("name", "abcd")
def test_it(pgflow_client, pgflow_worker, pgflow_server, worker_id, name):
    run = pgflow_client.start(flow, name)
    pgflow_worker(flow)
    assert [each.run_id for each in pgflow_client.list_runs(flow)] == [run.run_id]
    with open(f"{worker_id}.txt", "w") as file:
        file.write(pgflow_server)
"""
    )
    pytester.runpytest_subprocess("-q", "-n", "2", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    servers = {file.read_text() for file in pytester.path.glob("gw*.txt")}
    assert len(list(pytester.path.glob("gw*.txt"))) == 2
    assert len(servers) == 1
    (name,) = re.findall(r"pgflow-test-[0-9a-f]+", servers.pop())
    assert not Path(f"/tmp/{name}").exists()  # noqa: S108


def test_who_does_not_use_it_does_not_load_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import sys

def test_it():
    assert "pytest_pgflow" in sys.modules
    assert not {name for name in sys.modules if name.partition(".")[0] in {"pgflow", "psycopg", "pydantic"}}
"""
    )
    pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)
