"""pgflow._archive_task_message."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.sql.flows import archived, create_flow, queued, start, step


def archive(conn: psycopg.Connection, run: uuid.UUID, slug: str, index: int) -> None:
    conn.execute("select pgflow._archive_task_message(%s, %s, %s)", (run, slug, index))


def test_the_tasks_message_is_archived_and_no_other(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", step("m", step_type="map"))
    run = start(trial, "flow", [1, 2, 3])
    archive(trial, run, "m", 1)
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("m", 0), ("m", 2)], [("m", 1)])


def test_an_archived_message_is_passed_over(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    archive(trial, run, "a", 0)
    archive(trial, run, "a", 0)
    assert archived(trial, "flow") == [("a", 0)]


def test_a_null_message_is_passed_over(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    run = start(trial, "flow")
    trial.execute("update pgflow.step_tasks set message_id = null")
    archive(trial, run, "a", 0)
    assert (queued(trial, "flow"), archived(trial, "flow")) == ([("a", 0)], [])


@pytest.mark.parametrize(("slug", "index"), [("a", 1), ("unknown", 0)])
def test_an_unknown_task_is_passed_over(trial: psycopg.Connection, slug: str, index: int) -> None:
    create_flow(trial, "flow", "a")
    archive(trial, start(trial, "flow"), slug, index)
    assert queued(trial, "flow") == [("a", 0)]
