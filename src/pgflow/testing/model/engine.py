"""The operations of the SQL core, over the model's rows; each is one transaction at the time that the clock shows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from pgflow.errors import FlowNotFound
from pgflow.records import Outcome, Task, TaskKey, Verdict
from pgflow.testing.model import advance as dag
from pgflow.testing.model import control, starting
from pgflow.testing.model.state import FlowSpec, Message, RunRow, StepRow, TaskRow, World, dump

#: A task's name within the model, whoever holds it.
TaskId: TypeAlias = tuple[UUID, str, int]

#: Seconds beyond its timeout that a task's message, or its lease, may last.
_SPARE = 2
#: Seconds beyond its timeout after which the contract calls a task stalled.
_STALLED = 30
#: How often a stalled task is given back before it is given up.
_MOST_REQUEUES = 3


class Engine(World):
    """The SQL core in memory.

        engine = Engine()
        engine.create_flow("hello", flow.shape())
        run = engine.start_flow("hello", b'{"name": "Ada"}')
        [task] = engine.poll(worker_id)
        engine.settle(worker_id, [Outcome.completed(task.key, b'"Hello, Ada!"')])   # ['applied']

    Nothing passes by itself: `advance_time` moves the clock. JSON goes in and out as texts; None is SQL's null.
    """

    def __init__(self, now: datetime | None = None) -> None:
        super().__init__(now or datetime.now(UTC))
        self._grace_until = self.now
        self._paused: set[str] = set()
        self._gone_workers: set[UUID] = set()

    def advance_time(self, seconds: float) -> None:
        self.now = self.after(seconds)

    # -- runs

    def create_flow(self, slug: str, shape: dict[str, Any]) -> None:
        self.flows[slug] = FlowSpec.from_shape(slug, shape)

    def start_flow(self, slug: str, input: bytes | None, run_id: UUID | None = None) -> RunRow:
        """Raises FlowNotFound, and InvalidInputError if root maps need a list and the input is none."""
        flow = self.flows.get(slug)
        if flow is None:
            raise FlowNotFound(slug)
        return starting.start(self, flow, input, run_id)

    def force_skip(self, run_id: UUID, step_slug: str, reason: str) -> int:
        """`_cascade_force_skip_steps`: returns how many steps it skipped."""
        return dag.force_skip(self, self.runs[run_id], [step_slug], reason)

    def maybe_complete_run(self, run_id: UUID) -> None:
        dag.maybe_complete_run(self, self.runs[run_id])

    # -- run control (engine.md, 4)

    def cancel_run(self, run_id: UUID, reason: str | None = None) -> None:
        """Raises RunStateError for a run that has completed or failed."""
        control.cancel(self, self.runs[run_id], reason)

    def retry_run(self, run_id: UUID) -> None:
        """Raises RunStateError for a run that has completed, or whose list of the wrong length stays."""
        control.retry(self, self.runs[run_id])

    def rerun(self, run_id: UUID, from_step: str, input: bytes | None = None, new_id: UUID | None = None) -> RunRow:
        """Raises InvalidInputError as start_flow does, if root maps run again."""
        return starting.rerun(self, self.runs[run_id], from_step, input, new_id)

    def pause_flow(self, slug: str) -> None:
        """Nothing of the flow is claimed, nor its queue read, until it is resumed; all else goes on."""
        self._paused.add(slug)

    def resume_flow(self, slug: str) -> None:
        self._paused.discard(slug)

    # -- the contract's way of working: one task per call, no fence, whoever calls is believed

    def start_tasks(self, slug: str, msg_ids: Collection[int], worker_id: UUID) -> list[Task]:
        """Claims the tasks that these messages belong to, without a lease."""
        claimed: list[Task] = []
        if slug in self._paused:
            return claimed
        for run, step, task in self._open_tasks():
            mine = run.flow.slug == slug and task.message_id in msg_ids
            if mine and run.status == "started" and task.status == "queued":
                self.show(task, step.spec.timeout + _SPARE)
                claimed.append(self._claim(run, step, task, worker_id, None))
        return claimed

    def complete_task(self, task_id: TaskId, output: bytes | None) -> None:
        run, step, task = self._row(task_id)
        if run.status == "failed":
            return
        if step.status != "started":
            self.archive(task)
        elif child := dag.violated_by(run, step, output):  # also of a 'queued' task
            dag.fail_by_type(self, run, step, task, output, child)
        elif task.status == "started":
            dag.complete(self, run, step, task, output)
            dag.advance(self, run)

    def fail_task(self, task_id: TaskId, error: str) -> None:
        run, step, task = self._row(task_id)
        if run.status == "failed":
            if task.status == "started":
                task.status, task.error_message, task.failed_at = "failed", error, self.now
            self.archive(task)
        elif step.status != "started":
            self.archive(task)
        elif task.status == "started":
            dag.fail(self, run, step, task, error)
            dag.advance(self, run)

    def requeue_stalled_tasks(self) -> int:
        """Returns how many tasks went back to their queues; those given up do not count."""
        requeued = 0
        for run, step, task in self._open_tasks():
            if not self._is_stalled(step, task) or (self._in_grace and task.leased_until):
                continue
            if task.requeued_count < _MOST_REQUEUES:
                task.requeued_count += 1
                dag.requeue(self, run, step, task)
                requeued += 1
            else:
                self._give_up(task)
        return requeued

    # -- our way of working: leases and fences (engine.md, 2)

    def poll(
        self, worker_id: UUID, qty: int | None = None, lease: float = 15, only: Collection[TaskId] | None = None
    ) -> list[Task]:
        """Claims what can be read and started, in the order of the messages; of `only` these tasks, if given."""
        claimed: list[Task] = []
        for message in self._visible():
            if qty is not None and len(claimed) >= qty:
                break
            if only is not None and _task_of(message) not in only:
                continue
            if self._take(message):
                self.show(message.task, lease)
                claimed.append(self._claim(message.run, message.step, message.task, worker_id, lease))
        return claimed

    def settle(self, worker_id: UUID, outcomes: Sequence[Outcome]) -> list[Verdict]:
        """One verdict per outcome, in order.

        As if they came one by one, but in this order: results, retries and releases; then, when the runs have gone on,
        results that violate a type; then failures for good. What one of these ends is gone for those behind it.
        """
        verdicts: list[Verdict] = ["duplicate"] * len(outcomes)  # as the second of two with one fence stays
        first = {outcome.key: n for n, outcome in reversed(list(enumerate(outcomes)))}
        rounds: tuple[list[int], ...] = ([], [], [])
        for n in sorted(first.values()):
            verdicts[n] = _verdict(*self._row(_task_id(outcomes[n].key)), outcomes[n].key.fence)
            if verdicts[n] == "applied":
                rounds[self._harm(outcomes[n])].append(n)
        for n in sorted(rounds[0], key=lambda n: self._place(outcomes[n].key)):
            verdicts[n] = self._settle(outcomes[n])
        for run_id in sorted({outcomes[n].key.run_id for n in rounds[0] if verdicts[n] == "applied"}):
            dag.advance(self, self.runs[run_id])
        for n in rounds[1] + rounds[2]:
            verdicts[n] = self._settle(outcomes[n])
            dag.advance(self, self.runs[outcomes[n].key.run_id])
        return verdicts

    def settle_and_hand_over(
        self, worker_id: UUID, outcomes: Sequence[Outcome], qty: int, lease: float = 15
    ) -> tuple[list[Verdict], list[Task]]:
        """settle; and if all were results, and there was nothing against any, the tasks that it made are claimed for
        the same worker: all, if they can start at once and are at most `qty`, else none."""
        are_results = self._are_results(outcomes)
        before = set(self.messages)
        verdicts = self.settle(worker_id, outcomes)
        sent = [message for msg_id, message in sorted(self.messages.items()) if msg_id not in before]
        if not are_results or len(sent) > qty or not all(message in self._visible() for message in sent):
            return verdicts, []
        for message in sent:
            self.show(message.task, lease)
        return verdicts, [self._claim(m.run, m.step, m.task, worker_id, lease) for m in sent]

    def _are_results(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether each is the result of another task, and can be stored."""
        return len({_task_id(outcome.key) for outcome in outcomes}) == len(outcomes) and all(
            outcome.status == "completed"
            and _verdict(*self._row(_task_id(outcome.key)), outcome.key.fence) == "applied"
            and not self._harm(outcome)
            for outcome in outcomes
        )

    def _place(self, key: TaskKey) -> tuple[UUID, int, int]:
        """By run, step in the order of the flow, and task."""
        return key.run_id, self.runs[key.run_id].steps[key.step_slug].spec.index, key.task_index

    def _harm(self, outcome: Outcome) -> int:
        """0: the run goes on with it; 1: it would violate a type; 2: its task would fail for good."""
        run, step, task = self._row(_task_id(outcome.key))
        if outcome.status == "completed":
            return int(dag.violated_by(run, step, outcome.output) is not None)
        return 2 if outcome.status == "failed" and dag.is_last_attempt(step, task, outcome.permanent) else 0

    def _settle(self, outcome: Outcome) -> Verdict:
        run, step, task = self._row(_task_id(outcome.key))
        verdict = _verdict(run, step, task, outcome.key.fence)
        if verdict == "applied":
            task.settled_fence = outcome.key.fence
            self._apply(run, step, task, outcome)
        return verdict

    def _apply(self, run: RunRow, step: StepRow, task: TaskRow, outcome: Outcome) -> None:
        match outcome.status:
            case "completed" if child := dag.violated_by(run, step, outcome.output):
                dag.fail_by_type(self, run, step, task, outcome.output, child)
            case "completed":
                dag.complete(self, run, step, task, outcome.output)
            case "failed":
                dag.fail(
                    self, run, step, task, outcome.error or "",
                    permanent=outcome.permanent, retry_in=outcome.retry_in,
                )  # fmt: skip
            case "released":
                task.attempts_count -= 1
                dag.requeue(self, run, step, task)

    def extend(self, worker_id: UUID, held: Collection[TaskKey], lease: float) -> list[TaskKey]:
        """Returns those of the claims that are no longer the worker's."""
        lost = []
        for key in held:
            run, step, task = self._row(_task_id(key))
            own = task.status == "started" and task.fence == key.fence and task.worker_id == worker_id
            if own and task.started_at is not None:
                until = min(self.after(lease), task.started_at + timedelta(seconds=step.spec.timeout + _SPARE))
                task.leased_until = max(until, task.leased_until or until)
                self.show(task, (task.leased_until - self.now).total_seconds())
            if not own or run.status != "started" or step.status != "started":
                lost.append(key)
        return lost

    def fail_stalled_tasks(self) -> int:
        """Fails the tasks that were given up, with their steps, in the order of locks; returns how many."""
        failed = 0
        in_order = sorted(self._open_tasks(), key=lambda row: (row[0].run_id, row[1].spec.slug, row[2].index))
        for run, step, task in in_order:
            given_up = task.status == "started" and task.permanently_stalled_at is not None
            if given_up and run.status == "started" and step.status == "started":
                dag.exhaust(self, run, step, task, f"Task stalled {task.requeued_count} times")
                dag.advance(self, run)
                failed += 1
        return failed

    # -- what happens to workers and messages

    def lose_worker(self, worker_id: UUID) -> None:
        """The worker is gone: what it holds counts as stalled once its lease has lapsed."""
        self._gone_workers.add(worker_id)

    def grant_grace(self, seconds: float) -> None:
        """The database was away: for so long nothing is judged lapsed."""
        self._grace_until = self.after(seconds)

    def lapse(self, task_id: TaskId) -> None:
        """The lease of a task ends now, and its message can be read."""
        _run, _step, task = self._row(task_id)
        task.leased_until = self.now
        self.show(task)

    def deliver_again(self, task_id: TaskId) -> None:
        """A second message for a task, as some foreign hand might send it."""
        run, step, task = self._row(task_id)
        own = task.message_id
        self.send(run, step, task)
        task.message_id = own

    # -- messages and claims

    def _visible(self) -> list[Message]:
        """What a read of the queues would find, in the order of reading."""
        unpaused = (m for _, m in sorted(self.messages.items()) if m.run.flow.slug not in self._paused)
        return [m for m in unpaused if m.vt <= self.now]

    def _take(self, message: Message) -> bool:
        """Whether a message that was read leads to a claim; what can never lead to one is archived on sight."""
        run, step, task = message.run, message.step, message.task
        own = task.message_id == message.msg_id
        if not (run.status == step.status == "started" and own and task.is_open):
            del self.messages[message.msg_id]
            return False
        if task.status == "queued" or task.started_at is None:
            return True
        if task.leased_until is None and not self._is_stalled(step, task):
            message.vt = task.started_at + timedelta(seconds=step.spec.timeout + _STALLED)
            return False
        lapsed = task.leased_until is None or task.leased_until <= self.now
        return lapsed and not self._in_grace and self._recover(step, task, task.started_at)

    def _recover(self, step: StepRow, task: TaskRow, started_at: datetime) -> bool:
        """A claim that lapsed: a lost answer uses up nothing, a stall is counted; False if it is one stall too many."""
        overdue = started_at + timedelta(seconds=step.spec.timeout + _SPARE) < self.now
        if not overdue and task.worker_id not in self._gone_workers:
            task.attempts_count -= 1
            return True
        if task.requeued_count >= _MOST_REQUEUES:
            self._give_up(task)
            return False
        task.requeued_count += 1
        return True

    def _claim(self, run: RunRow, step: StepRow, task: TaskRow, worker_id: UUID, lease: float | None) -> Task:
        task.status, task.started_at, task.worker_id = "started", self.now, worker_id
        task.attempts_count += 1
        task.fence += 1
        task.leased_until = None if lease is None else self.after(lease)
        return _as_record(run, step, task)

    def _is_stalled(self, step: StepRow, task: TaskRow) -> bool:
        """By the contract's measure, whatever the lease says."""
        if task.status != "started" or task.started_at is None or task.permanently_stalled_at is not None:
            return False
        return task.started_at + timedelta(seconds=step.spec.timeout + _STALLED) < self.now

    def _give_up(self, task: TaskRow) -> None:
        task.permanently_stalled_at = self.now
        self.archive(task)

    @property
    def _in_grace(self) -> bool:
        return self.now < self._grace_until

    # -- rows

    def _row(self, task_id: TaskId) -> tuple[RunRow, StepRow, TaskRow]:
        run = self.runs[task_id[0]]
        step = run.steps[task_id[1]]
        return run, step, step.tasks[task_id[2]]

    def _open_tasks(self) -> Iterator[tuple[RunRow, StepRow, TaskRow]]:
        """The open tasks of steps that are 'started', also under a run that is not."""
        for run in self.runs.values():
            for step in run.steps.values():
                if step.status == "started":
                    yield from ((run, step, task) for task in step.tasks if task.is_open)


def _task_of(message: Message) -> TaskId:
    return message.run.run_id, message.step.spec.slug, message.task.index


def _task_id(key: TaskKey) -> TaskId:
    return key.run_id, key.step_slug, key.task_index


def _verdict(run: RunRow, step: StepRow, task: TaskRow, fence: int) -> Verdict:
    """In the order of engine.md."""
    if fence == task.settled_fence:
        return "duplicate"
    if fence != task.fence:
        return "stale"
    if run.status != "started" or step.status != "started":
        return "gone"
    return "applied" if task.is_open else "stale"


def _as_record(run: RunRow, step: StepRow, task: TaskRow) -> Task:
    spec = step.spec
    return Task(
        flow_slug=run.flow.slug,
        run_id=run.run_id,
        step_slug=spec.slug,
        task_index=task.index,
        msg_id=task.message_id,
        input=dump(run.outputs_for(spec)) if task.input is None else task.input,
        flow_input=None if spec.is_map or spec.dependencies else run.input,
        fence=task.fence,
        attempt=task.attempts_count,
        max_attempts=spec.max_attempts,
        timeout=spec.timeout,
        base_delay=spec.base_delay,
    )
