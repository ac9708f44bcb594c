"""Frozen rows as the database returned them, and the outcome of a task as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, Self, TypeAlias
from uuid import UUID

from typing_extensions import TypeVar

RunStatus: TypeAlias = Literal["started", "completed", "failed", "cancelled"]
StepType: TypeAlias = Literal["single", "map"]
StepStatus: TypeAlias = Literal["created", "started", "completed", "failed", "skipped"]
TaskStatus: TypeAlias = Literal["queued", "started", "completed", "failed", "cancelled"]
Verdict: TypeAlias = Literal["applied", "duplicate", "stale", "gone"]

Out_co = TypeVar("Out_co", covariant=True, default=Any)


@dataclass(frozen=True, slots=True)
class StepState:
    """A step within a run."""

    step_slug: str
    status: StepStatus
    initial_tasks: int | None
    remaining_tasks: int | None
    remaining_deps: int
    output: Any
    error_message: str | None
    skip_reason: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    skipped_at: datetime | None

    @property
    def done_tasks(self) -> int:
        """How many of the step's tasks have completed."""
        if self.initial_tasks is None or self.remaining_tasks is None:
            return 0
        return self.initial_tasks - self.remaining_tasks


@dataclass(frozen=True, slots=True)
class FailedTask:
    """The task that failed a run: where it stood and what its handler raised."""

    step_slug: str
    task_index: int
    attempt: int
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Run(Generic[Out_co]):
    """A snapshot of one execution of a flow.

    `output` is `{final_step: output}`, of the type that the flow was given as its second (`Flow[In, Out]`), but None
    where the run has not completed, or every final step was skipped. It is what JSON has: dicts and lists, no models.
    `steps` maps slugs to their states, in the order of the flow; it is empty in listings.
    `status` says 'cancelled' where a run was cancelled (the stored status of such a run is 'failed').
    `parent_run_id` is the run that this one is a rerun of, `key` the idempotency key that it was started with.
    """

    run_id: UUID
    flow_slug: str
    status: RunStatus
    input: Any
    output: Out_co
    error: str | None
    remaining_steps: int
    started_at: datetime
    completed_at: datetime | None
    failed_at: datetime | None
    steps: Mapping[str, StepState] = field(default_factory=dict)
    failed_task: FailedTask | None = None
    parent_run_id: UUID | None = None
    key: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has reached a status that it never leaves by itself."""
        return self.status != "started"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A snapshot of a schedule: it starts runs of a flow, with this input, at the slots of a cron expression.

    `origin` says who made it: the flow's 'code', or a 'user' by hand. `next_at` is None while it is paused, `error` why
    its last slot could not be started. `last_slot` and `last_run_id` are of the latest slot that was.
    """

    name: str
    flow_slug: str
    cron: str
    time_zone: str
    input: Any
    catch_up: Literal["none", "last", "all"]
    origin: Literal["code", "user"]
    created_at: datetime
    paused_at: datetime | None = None
    next_at: datetime | None = None
    last_slot: datetime | None = None
    last_run_id: UUID | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """What a worker must know of a schedule to fire it: its slots up to `done_until` are done with, `now` is the
    database's time, and `next_at` the next slot (None: not reckoned yet)."""

    name: str
    cron: str
    time_zone: str
    catch_up: Literal["none", "last", "all"]
    done_until: datetime
    now: datetime
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """A flow in the database, and what goes on in it.

    `is_dynamic`: it was stored as data. `workers` is how many live ones say that they serve it, `queued` how many
    messages its queue holds, those of tasks that are being worked on among them.
    """

    flow_slug: str
    steps: int
    is_dynamic: bool
    is_paused: bool
    unfinished_runs: int
    workers: int
    queued: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was deleted of what ended long ago, or would be; tasks are those of the runs."""

    runs: int
    tasks: int
    archived_messages: int
    workers: int


@dataclass(frozen=True, slots=True)
class Retries:
    """The tasks of a step that have failed and are tried again: how many, and the worst of them."""

    tasks: int
    attempt: int
    error_message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What there is to see of a run while it goes on; `run` is without its input and its outputs, which may be large.

    `dependencies` maps every step to those it waits for; `retries` has the steps under way of which tasks have failed
    and are tried again (not for steps of more than 10,000 tasks, whose tasks would have to be read one by one).
    """

    run: Run
    dependencies: Mapping[str, Sequence[str]]
    retries: Mapping[str, Retries]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a run, or to one of its steps, as their rows tell it.

    `type` is 'run:started', 'run:completed', 'run:failed' (of a cancelled run, too: its `status` is 'cancelled'),
    'step:started', 'step:completed', 'step:failed' or 'step:skipped'; `step_slug` is None where it is the run's.
    """

    run_id: UUID
    flow_slug: str
    type: str
    step_slug: str | None
    status: RunStatus | StepStatus
    at: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task: one unit of work, leased to one worker under one fence.

    `input` and `flow_input` are JSON texts as the database sent them: a map task's element, or the object
    `{dep_slug: output}` of a single step; `flow_input` is None but for a root single step.
    Times are seconds. `handler` and `step_type` are there only if they were asked for.
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    msg_id: int
    input: bytes
    flow_input: bytes | None
    fence: int
    attempt: int
    max_attempts: int
    timeout: int
    base_delay: int
    handler: str | None = None
    step_type: StepType | None = None

    @property
    def is_root_single(self) -> bool:
        """Whether this is the task of a single step without dependencies, which works on the run's input."""
        return self.flow_input is not None

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.run_id, self.step_slug, self.task_index, self.fence)

    def __str__(self) -> str:
        return f"{self.flow_slug}.{self.step_slug}[{self.task_index}] of run {self.run_id}"


class TaskKey(NamedTuple):
    """One claim of one task: what every write by a worker must show."""

    run_id: UUID
    step_slug: str
    task_index: int
    fence: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claimed task ended, as a value: made by the runner, settled by the completer.

    Outcome.completed(task.key, b'{"sent": 3}')
    Outcome.failed(task.key, "TimeoutError: no answer", retry_in=2.5)
    Outcome.released(task.key)
    """

    key: TaskKey
    status: Literal["completed", "failed", "released"]
    output: bytes | None = None
    error: str | None = None
    permanent: bool = False
    retry_in: float | None = None

    @classmethod
    def completed(cls, key: TaskKey, output: bytes) -> Self:
        """The handler returned; `output` is JSON text."""
        return cls(key, "completed", output=output)

    @classmethod
    def failed(cls, key: TaskKey, error: str, *, permanent: bool = False, retry_in: float | None = None) -> Self:
        """The handler failed; without `retry_in` (seconds) the step's backoff decides."""
        return cls(key, "failed", error=error, permanent=permanent, retry_in=retry_in)

    @classmethod
    def released(cls, key: TaskKey) -> Self:
        """The task was not worked on: back to the queue at once, the attempt given back."""
        return cls(key, "released")


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll brought: claimed tasks, and in how many seconds the next message becomes visible."""

    tasks: tuple[Task, ...]
    next_visible_in: float | None
