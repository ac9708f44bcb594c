"""Assertions about runs that say what is amiss."""

from __future__ import annotations

from collections.abc import Mapping

from pgflow.records import Run


def assert_completed(run: Run) -> None:
    """Fails with the run's error and its steps, unless the run has completed.

    assert_completed(run)
    """
    __tracebackhide__ = True
    if run.status != "completed":
        raise AssertionError("\n".join([f"run {run.run_id} of flow {run.flow_slug!r} is {run.status}", *_story(run)]))


def assert_steps(run: Run, expected: Mapping[str, str]) -> None:
    """Fails with the differences, unless each of these steps has this status; steps not named may have any.

    assert_steps(run, {"fetch": "completed", "report": "skipped"})
    """
    __tracebackhide__ = True
    if not run.steps:
        raise AssertionError(f"this snapshot of run {run.run_id} has no steps: get one by client.get_run(run)")
    actual = {slug: run.steps[slug].status if slug in run.steps else "not a step of the flow" for slug in expected}
    if actual == expected:
        return
    lines = [f"steps of run {run.run_id} of flow {run.flow_slug!r} differ (- expected, + found):"]
    for slug, status in expected.items():
        found = actual[slug]
        lines += [f"  {slug}: {found}"] if found == status else [f"- {slug}: {status}", f"+ {slug}: {found}"]
    raise AssertionError("\n".join([*lines, *_story(run)]))


def _story(run: Run) -> list[str]:
    """How it got there: the error of the run and of its steps."""
    task = run.failed_task
    where = f"{task.step_slug}, task {task.task_index}, attempt {task.attempt}: " if task else ""
    error = (task.error_message if task else None) or run.error
    return [
        *([f"error: {where}{error}"] if error else []),
        f"all steps: {', '.join(f'{slug} {_state(run, slug)}' for slug in run.steps)}",
    ]


def _state(run: Run, slug: str) -> str:
    step = run.steps[slug]
    return f"{step.status} ({step.skip_reason})" if step.skip_reason else step.status
