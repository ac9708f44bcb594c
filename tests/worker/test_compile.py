"""Flows at start: stored if missing, verified, replaced where that harms nobody, refused otherwise."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pgflow import AsyncClient, Flow, Worker
from pgflow.config import SettingsError
from pgflow.errors import DatabaseUnreachable, FlowDefinitionError, FlowMismatch, SchemaError
from tests.support import value


def version(number: int) -> Flow:
    """Two flows of one slug: the second has a further step."""
    flow = Flow("changing")
    flow.step(slug="first")(lambda: 1)
    if number == 2:
        flow.step(slug="second")(lambda first: first + 1)
    return flow


async def test_a_missing_flow_is_stored_and_an_equal_one_left_alone(dsn: str, conn: psycopg.Connection) -> None:
    for _ in range(2):
        async with Worker([version(1)], dsn=dsn):
            assert value(conn, "select count(*) from pgflow.steps") == 1


async def test_a_flow_that_differs_is_refused_and_nothing_changed(dsn: str, conn: psycopg.Connection) -> None:
    async with Worker([version(1)], dsn=dsn):
        pass
    with pytest.raises(FlowMismatch) as caught:
        async with Worker([version(2)], dsn=dsn):
            pytest.fail("the worker started")
    assert caught.value.differences == (
        "Step count differs: 2 vs 1",
        "Step at index 1: missing in second shape (first has 'second')",
    )
    assert "Step count differs: 2 vs 1" in str(caught.value)
    assert "replace" in str(caught.value)
    assert value(conn, "select count(*) from pgflow.steps") == 1
    assert value(conn, "select count(*) from pgflow.workers where stopped_at is null") == 0


async def test_on_the_embedded_server_a_changed_flow_without_unfinished_runs_is_replaced(
    embedded_directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGFLOW_EMBEDDED_DIR", str(embedded_directory))
    async with AsyncClient() as client:
        async with Worker([version(1)]):
            assert (await client.wait(await client.start(version(1), None), timeout=30)).output == {"first": 1}
        async with Worker([version(2)]):
            run = await client.wait(await client.start(version(2), None), timeout=30)
            assert run.output == {"second": 2}
        await client.start(version(2), None)
        with pytest.raises(FlowMismatch):
            await Worker([version(1)]).__aenter__()
    assert "using the embedded one" in capfd.readouterr().err


def test_a_flow_that_is_not_well_formed_is_refused_before_any_io() -> None:
    flow = Flow("broken")
    flow.step(slug="only")(lambda missing: missing)
    with pytest.raises(FlowDefinitionError, match="missing"):
        Worker([flow], dsn="postgresql://127.0.0.1:1/nowhere")


async def test_a_worker_needs_a_migrated_database(empty_dsn: str) -> None:
    with pytest.raises(SchemaError, match="pgflow migrate"):
        await Worker([version(1)], dsn=empty_dsn).__aenter__()


async def test_a_worker_needs_a_database() -> None:
    with pytest.raises(DatabaseUnreachable, match="is PostgreSQL running"):
        await Worker([version(1)], dsn="postgresql://me:secret@127.0.0.1:1/nowhere").__aenter__()


async def test_with_dev_a_changed_flow_is_replaced_unless_a_run_is_unfinished(
    dsn: str, conn: psycopg.Connection
) -> None:
    async with Worker([version(1)], dsn=dsn):
        pass
    async with Worker([version(2)], dsn=dsn, dev=True):
        assert value(conn, "select count(*) from pgflow.steps") == 2
    async with AsyncClient(dsn) as client:
        await client.start("changing", None)
    with pytest.raises(FlowMismatch, match="Step count differs"):
        async with Worker([version(1)], dsn=dsn, dev=True):
            pytest.fail("the worker started")
    assert value(conn, "select count(*) from pgflow.steps") == 2


def test_dev_is_refused_in_a_foreign_core(dsn: str) -> None:
    with pytest.raises(SettingsError, match="a flow is never replaced"):
        Worker([version(1)], dsn=dsn, core="foreign", dev=True)
