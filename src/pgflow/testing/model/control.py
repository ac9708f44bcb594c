"""What people do to runs: cancel and retry them (engine.md, 4); each is safe to repeat."""

from __future__ import annotations

from pgflow.errors import RunStateError
from pgflow.testing.model import advance as dag
from pgflow.testing.model.state import RunRow, StepRow, TaskRow, World


def cancel(world: World, run: RunRow, reason: str | None) -> None:
    """The run fails, and is told from others that failed; raises RunStateError if it has ended otherwise."""
    if run.cancelled_at:
        return
    if run.status != "started":
        raise RunStateError(f"Run {run.run_id} has {run.status} and cannot be cancelled")
    run.cancelled_at = world.now
    dag.fail_run(world, run, f"Cancelled: {reason}" if reason else "Cancelled")


def retry(world: World, run: RunRow) -> None:
    """The run goes on: what failed, and what was left open, is done again; what has ended well stays.

    Raises RunStateError for one that has completed, or that what stays would only fail again.
    """
    if run.status == "started":
        return
    if run.status == "completed":
        raise RunStateError(f"Run {run.run_id} has completed and cannot be retried")
    failed = [step for step in run.steps.values() if step.status == "failed"]
    if any(dag.length_fault(run, step) for step in failed):  # the step that made the list has completed
        raise RunStateError(f"Run {run.run_id} cannot be retried: a list of the wrong length stays")
    run.status, run.started_at = "started", world.now
    run.error_message = run.failed_at = run.cancelled_at = None
    for step in failed:
        _reopen(world, step)
    _count_anew(run)
    dag.begin(world, run)
    for step in failed:
        if step.status == "started":
            dag.emit_step_started(world, run, step)
    _queue_anew(world, run)
    dag.advance(world, run)


def _reopen(world: World, step: StepRow) -> None:
    step.status = "started" if step.started_at else "created"
    step.started_at = step.started_at and world.now
    step.error_message = step.failed_at = None


def _count_anew(run: RunRow) -> None:
    unended = [step for step in run.steps.values() if step.status in ("created", "started")]
    run.remaining_steps = len(unended)
    for step in unended:
        step.remaining_deps = run.open_dependencies(step.spec)
        if step.status == "started":
            step.remaining_tasks = sum(task.status != "completed" for task in step.tasks)


def _queue_anew(world: World, run: RunRow) -> None:
    """What has not completed of the steps that go on waits as if for the first time, under a fence nobody holds."""
    for step in run.steps.values():
        for n, task in enumerate(step.tasks):
            if step.status == "started" and task.status != "completed":
                step.tasks[n] = anew = TaskRow(task.index, world.now, task.input, task.message_id)
                anew.fence, anew.settled_fence = task.fence + 1, task.settled_fence
                world.send(run, step, anew, step.spec.start_delay)
