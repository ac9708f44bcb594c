"""What snapshots of runs tell, as events: each once, and also those of statuses that were left again at once."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

from pgflow.client.arguments import run_id_of, slug_of
from pgflow.errors import InvalidInputError, PgflowError, RunNotFound
from pgflow.flow import Flow
from pgflow.records import Event, Run, StepState

Key: TypeAlias = tuple[str, str | None, datetime]


def events_of(run: Run) -> list[Event]:
    """All that a snapshot tells of, in the order in which it happened."""
    events = [Event(run.run_id, run.flow_slug, "run:started", None, "started", run.started_at)]
    for step in run.steps.values():
        events += _step_events(run, step)
    events.sort(key=attrgetter("at"))  # stable: what one transaction did stays in the order of the flow
    if run.ended:
        type_ = "run:completed" if run.status == "completed" else "run:failed"
        end = run.completed_at or run.failed_at or run.started_at
        events.append(Event(run.run_id, run.flow_slug, type_, None, run.status, end, run.error))
    return events


def _step_events(run: Run, step: StepState) -> Iterator[Event]:
    if step.started_at is not None:
        yield Event(run.run_id, run.flow_slug, "step:started", step.step_slug, "started", step.started_at)
    end = step.completed_at or step.failed_at or step.skipped_at
    if end is not None:
        type_ = f"step:{step.status}"
        yield Event(run.run_id, run.flow_slug, type_, step.step_slug, step.status, end, step.error_message)


class Look:
    """What one look at the tables found: snapshots of runs, by their ids, and those of each flow."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs: dict[UUID, Run] = {}
        self.of_flow: defaultdict[str, list[Run]] = defaultdict(list)
        for run in runs:
            self.runs[run.run_id] = run
            self.of_flow[run.flow_slug].append(run)


class _News:
    """What is `pending`: not yet handed out; whether more can come, and the error if none can.

    `subject`, a run's id or a flow's slug, is what they are of, as `pgflow.watches` and notifications name it.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.pending: deque[Event] = deque()
        self.ended = False
        self.error: PgflowError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether nobody need wait for anything."""
        return bool(self.pending) or self.ended


class RunNews(_News):
    """The events of one run, from its start to its end."""

    flow_slug = None
    since = None

    def __init__(self, run_id: UUID) -> None:
        super().__init__(str(run_id))
        self.run_ids = {run_id}
        self._run_id = run_id
        self._told: set[Key] = set()

    def take(self, look: Look) -> bool:
        """Takes what is new; whether anything was."""
        before = len(self.pending)
        run = look.runs.get(self._run_id)
        if run is not None and not self.ended:
            self.pending.extend(_untold(run, self._told))
            self.ended = run.ended
        return len(self.pending) > before

    def take_all(self, look: Look, horizon: datetime) -> bool:
        """As `take`, of a look at all that is watched: a run that is not among them is no more."""
        if not self.ended and self._run_id not in look.runs:
            self.error, self.ended = RunNotFound(self._run_id), True
        return self.take(look)


class FlowNews(_News):
    """The events of a flow's runs from now on; of runs that started before, what happens to them from now on."""

    def __init__(self, flow_slug: str) -> None:
        super().__init__(flow_slug)
        self.flow_slug = flow_slug
        self._told: dict[UUID, set[Key]] = {}
        self._open: dict[UUID, bool] = {}
        self._horizons: deque[datetime] = deque(maxlen=2)

    @property
    def run_ids(self) -> set[UUID]:
        """The runs that may have ended since the last look."""
        return {run_id for run_id, is_open in self._open.items() if is_open}

    @property
    def since(self) -> datetime | None:
        """Where the next look begins: a transaction that ended while one looked is behind the horizon before."""
        return self._horizons[0] if self._horizons else None

    def take(self, look: Look) -> bool:
        """Takes what is new; whether anything was."""
        before = len(self.pending)
        for run in look.of_flow[self.flow_slug]:
            self._take(run)
        return len(self.pending) > before

    def take_all(self, look: Look, horizon: datetime) -> bool:
        """As `take`, of a look at all that is watched: what ended before it is forgotten."""
        for run_id in self._told.keys() - look.runs.keys():
            del self._told[run_id], self._open[run_id]
        is_new = self.take(look)
        self._horizons.append(horizon)
        return is_new

    def _take(self, run: Run) -> None:
        told = self._told.get(run.run_id)
        if told is None and run.ended and self.since is not None and run.started_at < self.since:
            return  # forgotten above, and named by a notification that came late
        if told is None:
            told = self._told[run.run_id] = set()
            if self.since is not None:  # what happened before its start, a retry, was told when it happened
                told.update(_key(event) for event in events_of(run) if event.at < run.started_at)
            else:
                told.update(map(_key, events_of(run)))
        self.pending.extend(_untold(run, told))
        self._open[run.run_id] = not run.ended


def news_of(run: Run | UUID | str | None, flow: Flow[Any, Any] | str | None) -> RunNews | FlowNews:
    """The news of the one that is given; raises InvalidInputError unless it is one."""
    if run is not None and flow is None:
        return RunNews(run_id_of(run))
    if flow is not None and run is None:
        return FlowNews(slug_of(flow))
    raise InvalidInputError("events are those of one run or of one flow: give either a run or flow=")


def _untold(run: Run, told: set[Key]) -> list[Event]:
    events = [event for event in events_of(run) if _key(event) not in told]
    told.update(map(_key, events))
    return events


def _key(event: Event) -> Key:
    return (event.type, event.step_slug, event.at)
