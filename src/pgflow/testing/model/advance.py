"""What follows from what: conditions, skips, taskless steps, tasks for what is ready, the end of a run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pgflow.testing.model.conditions import is_met, json_type
from pgflow.testing.model.state import RunRow, StepRow, StepSpec, TaskRow, World, dump, load

# ---------------------------------------------------------------------------------------- the way on


def begin(world: World, run: RunRow) -> None:
    """Tells that the run goes, from now on."""
    world.emit(
        "run:started",
        run,
        flow_slug=run.flow.slug,
        input=load(run.input),
        status="started",
        remaining_steps=run.remaining_steps,
        started_at=run.started_at,
    )


def advance(world: World, run: RunRow) -> None:
    """Takes the run as far as it goes without work: what every change of a step's status is followed by."""
    if not judge_and_complete(world, run):
        return
    start_ready_steps(world, run)
    maybe_complete_run(world, run)


def judge_and_complete(world: World, run: RunRow) -> bool:
    """Conditions and taskless steps in turn, until nothing changes; False if the run failed."""
    while resolve_conditions(world, run):
        if not complete_taskless_wave(world, run):
            return True
    return False


def start_ready_steps(world: World, run: RunRow) -> None:
    """Makes tasks and messages of every step that waits for nothing and has elements."""
    if run.status != "started":
        return
    ready = [s for s in run.steps.values() if s.is_waiting and s.initial_tasks]
    for step in sorted(ready, key=lambda s: s.spec.slug):
        step.status, step.started_at, step.remaining_tasks = "started", world.now, step.initial_tasks
        emit_step_started(world, run, step)
        for index, element in enumerate(_elements(run, step)):
            task = TaskRow(index, world.now, element, message_id=0)
            step.tasks.append(task)
            world.send(run, step, task, step.spec.start_delay)


def _elements(run: RunRow, step: StepRow) -> list[bytes | None]:
    if not step.spec.is_map:
        return [None]
    if step.spec.dependencies:
        return [dump(e) for e in load(run.steps[step.spec.dependencies[0]].output)]
    if step.spec.initial_tasks is not None:
        return [dump(index) for index in range(step.spec.initial_tasks)]
    return [dump(e) for e in load(run.input)]


def maybe_complete_run(world: World, run: RunRow) -> None:
    """Completes the run when no step remains, with the outputs of the completed steps that nothing depends on."""
    if run.status != "started" or run.remaining_steps > 0:
        return
    last = [s for s in run.steps.values() if s.status == "completed" and not any(run.dependents(s.spec.slug))]
    run.status, run.completed_at = "completed", world.now
    run.output = dump({s.spec.slug: load(s.output) for s in last}) if last else None
    world.emit(
        "run:completed",
        run,
        flow_slug=run.flow.slug,
        status="completed",
        output=load(run.output),
        completed_at=world.now,
    )


# ---------------------------------------------------------------------------------------- conditions and skips


def resolve_conditions(world: World, run: RunRow) -> bool:
    """Judges every waiting step until none is left that does not meet its conditions; False if the run failed.

    What fails the run comes first, by the order of steps: a condition, or a list of a length that a map did not expect.
    """
    while run.status != "failed":
        waiting = [s for s in run.steps.values() if s.is_waiting]
        unmet = [s for s in waiting if not is_met_by(run, s.spec)]
        for step in waiting:
            fault = _unmet_fault(step) if step in unmet else length_fault(run, step)
            if fault:
                fail_step(world, run, step, fault)
                return False
        if not unmet:
            return True
        for step in unmet:
            if step.spec.when_unmet == "skip":
                skip_alone(world, run, step, "condition_unmet")
        cascade = {s.spec.slug for s in unmet if s.spec.when_unmet == "skip-cascade"}
        force_skip(world, run, cascade, "condition_unmet")
    return False


def _unmet_fault(step: StepRow) -> str | None:
    return "Condition not met" if step.spec.when_unmet == "fail" else None


def length_fault(run: RunRow, step: StepRow) -> str | None:
    """Of a map that expects so many elements and has got a list of another length; a skip gives no list."""
    expected, got = step.spec.initial_tasks, step.initial_tasks
    if expected is None or expected == got or not run.outputs_for(step.spec):
        return None
    return f'Map step "{step.spec.slug}" expected {expected} elements, got {got}'


def is_met_by(run: RunRow, spec: StepSpec) -> bool:
    """Whether a step's conditions are met by the run's input (root) or the outputs it depends on."""
    data = run.outputs_for(spec) if spec.dependencies else load(run.input)
    return is_met(data, spec.required, spec.forbidden)


def skip_alone(world: World, run: RunRow, step: StepRow, reason: str, error: str | None = None) -> None:
    """The step is skipped; those that depend on it go on without it, a map over it with no elements."""
    _skip(world, run, step, reason, error)
    for dependent in run.dependents(step.spec.slug):
        dependent.remaining_deps -= 1
        if dependent.spec.is_map:
            dependent.initial_tasks = 0


def force_skip(world: World, run: RunRow, slugs: Collection[str], reason: str, error: str | None = None) -> int:
    """These steps and everything behind them are skipped; returns how many, those already terminal not counted."""
    behind = run.flow.behind(slugs)
    skipped = [s for s in run.steps.values() if s.spec.slug in behind and s.status in ("created", "started")]
    for step in skipped:
        if step.spec.slug in slugs:
            _skip(world, run, step, reason, error)
        else:
            _skip(world, run, step, "dependency_skipped", None)
    return len(skipped)


def _skip(world: World, run: RunRow, step: StepRow, reason: str, error: str | None) -> None:
    step.status, step.skip_reason, step.skipped_at, step.remaining_tasks = "skipped", reason, world.now, None
    step.error_message = error
    run.remaining_steps -= 1
    world.archive(*(t for t in step.tasks if t.is_open))
    by_handler = reason == "handler_failed"
    details: dict[str, Any] = {"error_message": error} if by_handler else {"flow_slug": run.flow.slug}
    _emit_step(world, run, step, "skipped", skip_reason=reason, **details)


# ---------------------------------------------------------------------------------------- completion


def complete_taskless_wave(world: World, run: RunRow) -> int:
    """Completes the steps that wait for nothing and have no elements; returns how many."""
    if run.status == "failed":
        return 0
    wave = [s for s in run.steps.values() if s.is_waiting and s.initial_tasks == 0]
    for step in wave:
        step.status, step.remaining_tasks = "completed", 0
        step.started_at = step.completed_at = world.now
        step.output = b"[]" if step.spec.is_map else None
        run.remaining_steps -= 1
        _emit_step(
            world, run, step, "completed", output=load(step.output), remaining_tasks=0, remaining_deps=0,
            started_at=world.now,
        )  # fmt: skip
        for dependent in run.dependents(step.spec.slug):
            dependent.remaining_deps -= 1
            if dependent.spec.is_map:
                dependent.initial_tasks = 0
    return len(wave)


def complete(world: World, run: RunRow, step: StepRow, task: TaskRow, output: bytes | None) -> None:
    """A task of a started step returned: its step may complete, and the run go on."""
    task.status, task.output, task.completed_at = "completed", output, world.now
    world.archive(task)
    step.remaining_tasks = (step.remaining_tasks or 0) - 1
    if step.remaining_tasks == 0:
        _complete_step(world, run, step)


def _complete_step(world: World, run: RunRow, step: StepRow) -> None:
    outputs = [t.output for t in step.tasks]
    step.output = dump([load(o) for o in outputs]) if step.spec.is_map else outputs[0]
    step.status, step.completed_at = "completed", world.now
    run.remaining_steps -= 1
    _emit_step(world, run, step, "completed", output=load(step.output))
    for dependent in run.dependents(step.spec.slug):
        dependent.remaining_deps -= 1
        if dependent.spec.is_map and dependent.initial_tasks is None:
            dependent.initial_tasks = len(load(step.output))


# ---------------------------------------------------------------------------------------- failure


def violated_by(run: RunRow, step: StepRow, output: bytes | None) -> StepRow | None:
    """The map that cannot take this output as its list, if there is one."""
    if step.spec.is_map or json_type(load(output)) == "array":
        return None
    return next((d for d in run.dependents(step.spec.slug) if d.spec.is_map and d.initial_tasks is None), None)


def fail_by_type(world: World, run: RunRow, step: StepRow, task: TaskRow, output: bytes | None, child: StepRow) -> None:
    """The step's output is no list for the map over it: no retry and no skip can mend that."""
    produced = json_type(load(output))
    task.status, task.output, task.failed_at = "failed", output, world.now
    task.error_message = f"[TYPE_VIOLATION] Produced {produced} instead of array"
    message = (
        f"[TYPE_VIOLATION] Map step {child.spec.slug} expects array input but dependency {step.spec.slug} "
        f"produced {produced}"
    )
    fail_run(world, run, message, in_event=False)
    _fail_step(world, step, run, message)
    world.archive(task)


def fail(
    world: World, run: RunRow, step: StepRow, task: TaskRow, error: str, *,
    permanent: bool = False, retry_in: float | None = None,
) -> None:  # fmt: skip
    """A task's handler failed: it is tried again, or the step ends by its when_exhausted."""
    task.error_message = error
    if not is_last_attempt(step, task, permanent):
        delay = step.spec.base_delay * 2**task.attempts_count if retry_in is None else retry_in
        requeue(world, run, step, task, delay)
    else:
        exhaust(world, run, step, task, error)


def is_last_attempt(step: StepRow, task: TaskRow, permanent: bool = False) -> bool:
    return permanent or task.attempts_count >= step.spec.max_attempts


def requeue(world: World, run: RunRow, step: StepRow, task: TaskRow, delay: float = 0) -> None:
    """Back to the queue, visible after `delay` seconds; with a new message where it had been given up."""
    task.status, task.started_at, task.leased_until, task.permanently_stalled_at = "queued", None, None, None
    if task.message_id in world.messages:
        world.show(task, delay)
    elif run.status == step.status == "started":
        world.send(run, step, task, delay)


def exhaust(world: World, run: RunRow, step: StepRow, task: TaskRow, error: str) -> None:
    """The task failed for good, and with it the step: failed or skipped, as when_exhausted says."""
    task.status, task.error_message, task.failed_at = "failed", error, world.now
    world.archive(task)
    match step.spec.when_exhausted:
        case "fail":
            fail_step(world, run, step, error)
        case "skip":
            skip_alone(world, run, step, "handler_failed", error)
        case _:
            force_skip(world, run, [step.spec.slug], "handler_failed", error)


def fail_step(world: World, run: RunRow, step: StepRow, error: str) -> None:
    """The step fails and the run with it; other steps and tasks stay as they are, without messages."""
    _fail_step(world, step, run, error)
    fail_run(world, run, error)


def _fail_step(world: World, step: StepRow, run: RunRow, error: str) -> None:
    step.status, step.error_message, step.failed_at = "failed", error, world.now
    _emit_step(world, run, step, "failed", error_message=error)


def fail_run(world: World, run: RunRow, error: str, *, in_event: bool = True) -> None:
    """The run fails; its steps and tasks stay as they are, without messages."""
    run.status, run.error_message, run.failed_at = "failed", error, world.now
    world.archive(*(t for s in run.steps.values() for t in s.tasks if t.is_open))
    details = {"error_message": error} if in_event else {}
    world.emit("run:failed", run, flow_slug=run.flow.slug, status="failed", failed_at=world.now, **details)


def emit_step_started(world: World, run: RunRow, step: StepRow) -> None:
    """The step and its tasks wait for workers."""
    _emit_step(world, run, step, "started", remaining_tasks=step.remaining_tasks, remaining_deps=0)


def _emit_step(world: World, run: RunRow, step: StepRow, status: str, **details: Any) -> None:
    stamp = {f"{status}_at": world.now}
    world.emit(f"step:{status}", run, step_slug=step.spec.slug, status=status, **stamp, **details)
