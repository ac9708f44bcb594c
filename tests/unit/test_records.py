"""Rows and outcomes as values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from pgflow.records import Outcome, Run, StepState, Task, TaskKey

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = TaskKey(UUID(int=7), "a", 3, 9)


def run(status: Any) -> Run:
    return Run(UUID(int=7), "f", status, None, None, None, 0, NOW, None, None)


def state(initial: int | None, remaining: int | None) -> StepState:
    return StepState("a", "started", initial, remaining, 0, None, None, None, NOW, None, None, None, None)


@pytest.mark.parametrize(("status", "ended"), [("started", 0), ("completed", 1), ("failed", 1), ("cancelled", 1)])
def test_a_run_has_ended_unless_it_is_started(status: str, ended: int):
    assert run(status).ended == bool(ended)


@pytest.mark.parametrize(
    ("initial", "remaining", "done"), [(None, None, 0), (5, None, 0), (5, 5, 0), (5, 2, 3), (5, 0, 5), (0, 0, 0)]
)
def test_done_tasks_are_those_that_do_not_remain(initial: int | None, remaining: int | None, done: int):
    assert state(initial, remaining).done_tasks == done


def test_snapshots_share_no_steps_and_are_frozen():
    one, two = run("started"), run("started")
    assert one.steps is not two.steps
    with pytest.raises(FrozenInstanceError):
        one.status = "failed"  # type: ignore[misc]


def test_a_task_knows_its_key_and_its_name():
    task = Task("f", UUID(int=7), "a", 3, 1, b"{}", None, 9, 1, 3, 60, 5)
    assert task.key == KEY
    assert hash(task.key) == hash(KEY)
    assert str(task) == "f.a[3] of run 00000000-0000-0000-0000-000000000007"


def test_outcomes_are_made_by_what_happened():
    assert Outcome.completed(KEY, b"1") == Outcome(KEY, "completed", output=b"1")
    assert Outcome.failed(KEY, "E: x") == Outcome(KEY, "failed", error="E: x")
    assert Outcome.failed(KEY, "E: x", permanent=True, retry_in=0.0) == Outcome(
        KEY, "failed", error="E: x", permanent=True, retry_in=0.0
    )
    assert Outcome.released(KEY) == Outcome(KEY, "released")
