"""Where the database, or the model, was not as the contract says: each with the shortest history that showed it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from pgflow.records import Outcome, TaskKey
from pgflow.testing.model import Engine
from tests.testing.real import LEASE, Real

RUN = UUID(int=100)
WORKER = UUID(int=1)
#: A condition that no input here meets.
NEVER = {"defined": True, "value": {"never": True}}


def step(slug: str, *dependencies: str, kind: str = "single", **more: Any) -> dict[str, Any]:
    return {"slug": slug, "stepType": kind, "dependencies": list(dependencies), **more}


def started(conn: psycopg.Connection, *steps: dict[str, Any]) -> Real:
    real = Real(conn)
    real.create_flow("regression", {"steps": list(steps)})
    real.add_worker(WORKER)
    real.start_flow(b"{}", RUN)
    return real


def test_a_completed_step_counts_down_a_skipped_dependent_too(conn: psycopg.Connection) -> None:
    """sql-core.md 8 (4): dependents' remaining_deps - 1, skipped ones included."""
    real = started(conn, step("a"), step("b", "a"), step("c"))
    real.force_skip(RUN, "b", "dependency_skipped")
    real.poll(WORKER, 10)
    real.complete_task((RUN, "a", 0), b"1")
    assert real.snapshot()["steps"][f"{RUN} b"]["remaining_deps"] == 0


def test_a_completed_step_gives_a_skipped_map_its_length_too(conn: psycopg.Connection) -> None:
    """sql-core.md 8 (4): a map dependent's unknown initial_tasks = that length."""
    real = started(conn, step("a"), step("b", "a", kind="map"), step("c"))
    real.force_skip(RUN, "b", "dependency_skipped")
    real.poll(WORKER, 10)
    real.complete_task((RUN, "a", 0), b"[1, 2]")
    assert real.snapshot()["steps"][f"{RUN} b"]["initial_tasks"] == 2


@pytest.mark.parametrize("late", ["stale", "gone"])
def test_the_second_of_two_is_a_duplicate_also_where_the_first_came_late(conn: psycopg.Connection, late: str) -> None:
    """engine.md 2: `duplicate` is tested first, also the second of two."""
    real = started(conn, step("a"), step("b"))
    claimed = {task.step_slug: task for task in real.poll(WORKER, 10)}
    if late == "gone":
        real.settle(WORKER, [Outcome.failed(claimed["b"].key, "no", permanent=True)])
    else:
        real.fail_task((RUN, "a", 0), "a foreign worker's word")
        assert real.start_tasks([(RUN, "a", 0)], WORKER)
    outcome = Outcome.completed(claimed["a"].key, b"1")
    assert real.settle(WORKER, [outcome, outcome]) == [late, "duplicate"]


@pytest.mark.parametrize("now", [Outcome.failed, Outcome.completed])
def test_two_claims_of_one_task_in_one_call_are_judged_before_either_changes_it(
    conn: psycopg.Connection, now: Any
) -> None:
    """engine.md 2: `duplicate` if the fence is the one settled last, as it was before the call."""
    real = started(conn, step("a", options={"baseDelay": 0}))
    (first,) = real.poll(WORKER, 10)
    real.settle(WORKER, [Outcome.failed(first.key, "no")])
    (second,) = real.poll(WORKER, 10)
    current = now(second.key, "no" if now == Outcome.failed else b"1")
    assert real.settle(WORKER, [current, Outcome.completed(first.key, b"1")]) == ["applied", "duplicate"]


def test_a_skipped_step_that_a_rerun_took_over_still_counts_what_it_depends_on(conn: psycopg.Connection) -> None:
    """sql-core.md 8 (4): dependents' remaining_deps - 1, skipped ones included; it was 0, and -1 was refused."""
    real = started(conn, step("a"), step("b", requiredInputPattern=NEVER, whenUnmet="skip-cascade"),
                   step("c", "a", "b"), step("d"))  # fmt: skip
    again = real.rerun(RUN, "d", None)
    assert again is not None
    assert real.snapshot()["steps"][f"{again.run_id} c"]["remaining_deps"] == 1
    tasks = [task for task in real.poll(WORKER, 10) if task.run_id == again.run_id]
    assert real.settle(WORKER, [Outcome.completed(task.key, b"1") for task in tasks]) == ["applied", "applied"]
    assert real.snapshot()["runs"][str(again.run_id)]["status"] == "completed"


@pytest.mark.parametrize("reason", ["condition_unmet", "dependency_skipped", "handler_failed"])
def test_what_a_skip_took_along_does_not_run_in_a_rerun_either(conn: psycopg.Connection, reason: str) -> None:
    """sql-core.md 6: skip-cascade skips everything after a step; handlers may count on it (python-api.md)."""
    cascade = {"whenUnmet": "skip-cascade", "whenExhausted": "skip-cascade", "options": {"maxAttempts": 1}}
    unmet = {"requiredInputPattern": NEVER} if reason == "condition_unmet" else {}
    real = started(conn, step("a", **cascade, **unmet), step("b"), step("c", "a", "b"), step("d", "c"), step("e", "b"))
    if reason == "dependency_skipped":
        real.force_skip(RUN, "a", reason)
    for task in real.poll(WORKER, 10):
        outcome = Outcome.failed(task.key, "no") if task.step_slug == "a" else Outcome.completed(task.key, b"1")
        real.settle(WORKER, [outcome])
    real.snapshot()
    again = real.rerun(RUN, "b", None)
    assert again is not None
    found = real.snapshot()
    states = {key.split()[1]: row for key, row in found["steps"].items() if key.startswith(str(again.run_id))}
    assert {slug: row["status"] for slug, row in states.items()} == {
        "a": "skipped", "b": "started", "c": "skipped", "d": "skipped", "e": "created",
    }  # fmt: skip
    assert (states["a"]["skip_reason"], states["c"]["skip_reason"]) == (reason, "dependency_skipped")
    assert [e["event_type"] for e in found["events"]] == ["run:started", "step:skipped", "step:skipped", "step:started"]
    assert found["runs"][str(again.run_id)]["remaining_steps"] == 2


def test_what_a_contract_call_claimed_and_a_heartbeat_leased_comes_up_when_the_lease_ends(
    conn: psycopg.Connection,
) -> None:
    """engine.md 2: leased_until is set by extension, too, and a task whose lease has passed starts again; the model
    left the message where start_tasks had put it."""
    shape = step("a", options={"timeout": 500})
    real, model = started(conn, shape), Engine()
    model.create_flow("regression", {"steps": [shape]})
    model.start_flow("regression", b"{}", RUN)
    held = [TaskKey(RUN, "a", 0, 1)]
    assert len(real.start_tasks([(RUN, "a", 0)], WORKER)) == 1
    assert len(model.start_tasks("regression", list(model.messages), WORKER)) == 1
    assert real.extend(WORKER, held) == model.extend(WORKER, held, LEASE) == []
    real.advance_time(LEASE + 1)
    model.advance_time(LEASE + 1)
    real.show_lapsed()
    assert [task.key.fence for task in real.poll(WORKER, 10)] == [2]
    assert [task.key.fence for task in model.poll(WORKER)] == [2]
