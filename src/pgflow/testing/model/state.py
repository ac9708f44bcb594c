"""What the model holds: flows as their shapes say, and the rows of runs, step states, tasks and messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pgflow.records import RunStatus, StepStatus, TaskStatus


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step as defined; its options are resolved (its own, else the flow's). Times are seconds."""

    slug: str
    index: int
    is_map: bool
    dependencies: tuple[str, ...]
    when_unmet: str
    when_exhausted: str
    required: Any
    forbidden: Any
    max_attempts: int
    base_delay: int
    timeout: int
    start_delay: int
    initial_tasks: int | None


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A flow as its shape defines it; steps in the order of the shape."""

    slug: str
    steps: dict[str, StepSpec]

    @classmethod
    def from_shape(cls, slug: str, shape: dict[str, Any]) -> FlowSpec:
        """Reads a shape; what is missing takes its default (sql-core.md, 3)."""
        options = {"maxAttempts": 3, "baseDelay": 5, "timeout": 60} | shape.get("options", {})
        return cls(slug, {s["slug"]: _step(i, s, options) for i, s in enumerate(shape["steps"])})

    def dependents(self, slug: str) -> Iterator[StepSpec]:
        return (step for step in self.steps.values() if slug in step.dependencies)

    def behind(self, slugs: Collection[str]) -> set[str]:
        """These steps and everything that comes after them."""
        found = set(slugs)
        for spec in self.steps.values():  # in topological order
            if found.intersection(spec.dependencies):
                found.add(spec.slug)
        return found


def _step(index: int, step: dict[str, Any], flow_options: dict[str, int]) -> StepSpec:
    options = flow_options | step.get("options", {})
    return StepSpec(
        slug=step["slug"],
        index=index,
        is_map=step["stepType"] == "map",
        dependencies=tuple(dict.fromkeys(step.get("dependencies", ()))),
        when_unmet=step.get("whenUnmet", "skip"),
        when_exhausted=step.get("whenExhausted", "fail"),
        required=step.get("requiredInputPattern", {}).get("value"),
        forbidden=step.get("forbiddenInputPattern", {}).get("value"),
        max_attempts=max(1, options["maxAttempts"]),  # 0 and 1 both mean one attempt
        base_delay=options["baseDelay"],
        timeout=options["timeout"],
        start_delay=options.get("startDelay", 0),
        initial_tasks=step.get("initialTasks"),
    )


@dataclass(slots=True)
class TaskRow:
    """A unit of work. JSON values here and below are texts; None is SQL's null, b"null" JSON's."""

    index: int
    queued_at: datetime
    input: bytes | None
    message_id: int
    status: TaskStatus = "queued"
    attempts_count: int = 0
    requeued_count: int = 0
    fence: int = 0
    settled_fence: int = 0
    leased_until: datetime | None = None
    worker_id: UUID | None = None
    output: bytes | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    permanently_stalled_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status in ("queued", "started")


@dataclass(slots=True)
class StepRow:
    """A step within a run, with its tasks."""

    spec: StepSpec
    remaining_deps: int
    initial_tasks: int | None
    created_at: datetime
    status: StepStatus = "created"
    remaining_tasks: int | None = None
    output: bytes | None = None
    error_message: str | None = None
    skip_reason: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    skipped_at: datetime | None = None
    tasks: list[TaskRow] = field(default_factory=list)

    @property
    def is_waiting(self) -> bool:
        """Not begun, though nothing that it depends on keeps it from beginning."""
        return self.status == "created" and self.remaining_deps == 0

    @property
    def has_ended_well(self) -> bool:
        """Nothing that comes after it waits for it any more."""
        return self.status in ("completed", "skipped")

    @property
    def cascades(self) -> bool:
        """It was skipped, and so must be what comes after it."""
        match self.skip_reason:
            case None:
                return False
            case "condition_unmet":
                return self.spec.when_unmet == "skip-cascade"
            case "handler_failed":
                return self.spec.when_exhausted == "skip-cascade"
            case _:
                return True


@dataclass(slots=True)
class RunRow:
    """One execution of a flow, with its step states in the order of the flow."""

    run_id: UUID
    flow: FlowSpec
    input: bytes
    remaining_steps: int
    started_at: datetime
    status: RunStatus = "started"
    output: bytes | None = None
    error_message: str | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    parent_run_id: UUID | None = None
    steps: dict[str, StepRow] = field(default_factory=dict)

    def dependents(self, slug: str) -> Iterator[StepRow]:
        return (self.steps[step.slug] for step in self.flow.dependents(slug))

    def open_dependencies(self, spec: StepSpec) -> int:
        """How many of the steps that it depends on keep it waiting."""
        return sum(not self.steps[slug].has_ended_well for slug in spec.dependencies)

    def outputs_for(self, spec: StepSpec) -> dict[str, Any]:
        """`{dep_slug: output}` of the step's completed dependencies."""
        dependencies = (self.steps[slug] for slug in spec.dependencies)
        return {d.spec.slug: load(d.output) for d in dependencies if d.status == "completed"}


@dataclass(slots=True)
class Message:
    """A task's entry in its flow's queue; `vt` is when it can be read."""

    msg_id: int
    run: RunRow
    step: StepRow
    task: TaskRow
    vt: datetime


#: Seconds: the longest delay that the database can hold, an int.
_LONGEST = 2**31 - 1


class World:
    """All rows, the clock that stands still unless it is set, and the events emitted so far."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.flows: dict[str, FlowSpec] = {}
        self.runs: dict[UUID, RunRow] = {}
        self.messages: dict[int, Message] = {}
        self.events: list[dict[str, Any]] = []
        self._last_msg_id = 0

    def after(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=min(seconds, _LONGEST))

    def send(self, run: RunRow, step: StepRow, task: TaskRow, delay: float = 0) -> None:
        """A new message for the task, which is its message from now on."""
        self._last_msg_id += 1
        task.message_id = self._last_msg_id
        self.messages[task.message_id] = Message(task.message_id, run, step, task, self.after(delay))

    def show(self, task: TaskRow, delay: float = 0) -> None:
        """The task's message can be read after `delay` seconds; an archived one is passed over."""
        if message := self.messages.get(task.message_id):
            message.vt = self.after(delay)

    def archive(self, *tasks: TaskRow) -> None:
        for task in tasks:
            self.messages.pop(task.message_id, None)

    def emit(self, event_type: str, run: RunRow, **payload: Any) -> None:
        self.events.append({"event_type": event_type, "run_id": run.run_id, **payload})


def load(text: bytes | None) -> Any:
    """A JSON text as a value; SQL's null becomes JSON's."""
    return None if text is None else json.loads(text)


def dump(value: Any) -> bytes:
    """A value as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
