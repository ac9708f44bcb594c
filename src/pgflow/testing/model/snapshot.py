"""What can be compared between the model and a database: plain data, without times and ids of messages."""

from __future__ import annotations

import json
from typing import Any

from pgflow.testing.model.state import RunRow, StepRow, TaskRow, World


def snapshot(world: World) -> dict[str, Any]:
    """Every row that counts, by key. JSON columns are canonical texts, or None for SQL's null.

    `due` is in how many seconds a queued task's message can be read; `stray` counts messages that no task owns.
    """
    own = {t.message_id for run in world.runs.values() for s in run.steps.values() for t in s.tasks}
    return {
        "runs": {str(run.run_id): _run(run) for run in world.runs.values()},
        "steps": {f"{r.run_id} {s.spec.slug}": _step(s) for r in world.runs.values() for s in r.steps.values()},
        "tasks": {
            f"{r.run_id} {s.spec.slug} {t.index}": _task(world, t)
            for r in world.runs.values()
            for s in r.steps.values()
            for t in s.tasks
        },
        "stray": sum(msg_id not in own for msg_id in world.messages),
    }


def canonical(text: bytes | str | None) -> str | None:
    """A JSON text in one spelling, keys sorted."""
    return None if text is None else json.dumps(json.loads(text), sort_keys=True)


def _run(run: RunRow) -> dict[str, Any]:
    return {
        "status": run.status,
        "remaining_steps": run.remaining_steps,
        "input": canonical(run.input),
        "output": canonical(run.output),
        "error_message": run.error_message,
        "cancelled": run.cancelled_at is not None,
        "parent": None if run.parent_run_id is None else str(run.parent_run_id),
    }


def _step(step: StepRow) -> dict[str, Any]:
    return {
        "status": step.status,
        "remaining_deps": step.remaining_deps,
        "remaining_tasks": step.remaining_tasks,
        "initial_tasks": step.initial_tasks,
        "output": canonical(step.output),
        "error_message": step.error_message,
        "skip_reason": step.skip_reason,
    }


def _task(world: World, task: TaskRow) -> dict[str, Any]:
    message = world.messages.get(task.message_id)
    due = None
    if message is not None and task.status == "queued":
        due = max(0.0, (message.vt - world.now).total_seconds())
    return {
        "status": task.status,
        "attempts_count": task.attempts_count,
        "requeued_count": task.requeued_count,
        "fence": task.fence,
        "settled_fence": task.settled_fence,
        "given_up": task.permanently_stalled_at is not None,
        "output": canonical(task.output),
        "error_message": task.error_message,
        "leased": task.status == "started" and task.leased_until is not None and task.leased_until > world.now,
        "has_message": message is not None,
        "due": due,
    }
