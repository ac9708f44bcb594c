"""New runs: from the beginning, or from a step on with what another run has come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID, uuid4

from pgflow.errors import InvalidInputError
from pgflow.testing.model import advance as dag
from pgflow.testing.model.conditions import json_type
from pgflow.testing.model.state import FlowSpec, RunRow, StepRow, StepSpec, World, load


def start(world: World, flow: FlowSpec, input: bytes | None, run_id: UUID | None) -> RunRow:
    """A run of the whole flow."""
    _check_input(flow, flow.steps.values(), input)
    run = _new_run(world, flow, input or b"null", run_id, {})
    dag.begin(world, run)
    dag.advance(world, run)
    return run


def rerun(world: World, parent: RunRow, from_step: str, input: bytes | None, run_id: UUID | None) -> RunRow:
    """A run from a step on: what does not come after it stands as it ended in the parent; what had not ended runs."""
    flow, input = parent.flow, parent.input if input is None else input
    again = flow.behind([flow.steps[from_step].slug])
    kept = {s.spec.slug: s for s in parent.steps.values() if s.has_ended_well and s.spec.slug not in again}
    _check_input(flow, (s for s in flow.steps.values() if s.slug not in kept), input)
    run = _new_run(world, flow, input, run_id, kept)
    run.parent_run_id = parent.run_id
    dag.begin(world, run)
    # a skip that took along what came after it still does
    dag.force_skip(world, run, [slug for slug, s in kept.items() if s.cascades], "dependency_skipped")
    dag.advance(world, run)
    return run


def _new_run(world: World, flow: FlowSpec, input: bytes, run_id: UUID | None, kept: Mapping[str, StepRow]) -> RunRow:
    run = RunRow(run_id or uuid4(), flow, input, len(flow.steps) - len(kept), world.now)
    for spec in flow.steps.values():
        old = kept.get(spec.slug)
        step = _taken_over(world, old) if old else StepRow(spec, 0, None, world.now)
        run.steps[spec.slug] = step
        step.remaining_deps = run.open_dependencies(spec)
        if not old:
            step.initial_tasks = _initial_tasks(run, step)
    world.runs[run.run_id] = run
    return run


def _taken_over(world: World, old: StepRow) -> StepRow:
    """As it ended, but without its tasks: what comes after it needs no more than its output."""
    step = StepRow(old.spec, 0, old.initial_tasks, world.now, old.status)
    step.output, step.error_message, step.skip_reason = old.output, old.error_message, old.skip_reason
    if old.status == "completed":
        step.remaining_tasks, step.started_at, step.completed_at = 0, world.now, world.now
    else:
        step.skipped_at = world.now
    return step


def _initial_tasks(run: RunRow, step: StepRow) -> int | None:
    spec = step.spec
    if not spec.is_map:
        return 1
    if not spec.dependencies:
        return len(load(run.input)) if spec.initial_tasks is None else spec.initial_tasks
    if step.remaining_deps:
        return None
    return sum(len(output) for output in run.outputs_for(spec).values())  # of one; none if it was skipped


def _check_input(flow: FlowSpec, steps: Iterable[StepSpec], input: bytes | None) -> None:
    """Of the steps that will run, do root maps get the list they need?"""
    if not any(s.is_map and not s.dependencies and s.initial_tasks is None for s in steps):
        return
    if input is None:
        raise InvalidInputError(f"Flow {flow.slug} has root map steps but input is NULL")
    if (kind := json_type(load(input))) != "array":
        raise InvalidInputError(f"Flow {flow.slug} has root map steps but input is not an array (got {kind})")
