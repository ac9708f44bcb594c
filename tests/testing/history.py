"""One random history of a random flow: the same operations in the database and in the in-memory model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pgflow.errors import InvalidInputError, RunStateError
from pgflow.records import Outcome, Run, Task, TaskKey, Verdict
from pgflow.testing.model import Engine, TaskId, snapshot
from pgflow.testing.model.snapshot import canonical
from pgflow.testing.model.state import RunRow
from tests.testing.flows import LISTS, OUTPUTS, inputs, shapes
from tests.testing.real import LEASE, QUANTUM, Real, plain_event

_WORKERS = [UUID(int=1), UUID(int=2)]
#: A poll for more than there can be.
_ALL = 500
#: Which of a list: taken modulo its length.
_any = st.integers(0, 999)

_HOWS = ("completed", "failed", "failed for good", "retry in", "released", "completed")
_MOODS_HOWS = {
    "working": ("completed",) * 12 + _HOWS,
    "failing": ("completed", "failed", "failed", "failed", "retry in", "failed for good"),
}


def play(
    real: Real, histories: int, exercised: Counter[str], *,
    kind: type[History] | None = None, shrink: bool = True, fixed: bool = True,
    on_end: Callable[[Exception | None], None] | None = None,
) -> None:  # fmt: skip
    """Plays so many histories, fixed ones or new ones; `on_end` is told how each ended and so keeps it from failing."""

    @settings(
        max_examples=histories,
        derandomize=fixed,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        print_blob=False,
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        history = (kind or History)(real, exercised, data)
        try:
            history.play()
        except Exception as error:
            if on_end is None or type(error).__module__.startswith("hypothesis"):
                raise
            on_end(error)
        else:
            if on_end is not None:
                on_end(None)
        finally:
            history.clear()

    one()


class History:
    """One flow, up to three runs, two workers and a foreign caller; each operation does the same on both sides."""

    #: How often each operation is chosen, in a history of no particular kind.
    weights: ClassVar = {
        "start_flow": 1, "force_skip": 1,
        "start_tasks": 3, "complete_task": 3, "complete_task_with_sql_null": 1, "fail_task": 2,
        "requeue_stalled_tasks": 2,
        "cancel_run": 1, "retry_run": 3, "rerun": 2, "pause_flow": 1, "resume_flow": 12,
        "poll": 3, "settle": 3, "settle_again": 1, "settle_all": 3, "hand_over": 5, "work": 2, "extend": 3,
        "fail_stalled_tasks": 2,
        "advance_time": 2, "neglect": 1, "forget": 1, "lapse": 2, "show_early": 3, "grant_grace": 2, "lose_worker": 1,
        "deliver_again": 1,
    }  # fmt: skip
    #: What is chosen more often (0: not at all) in histories of one kind or another, so that each gets somewhere.
    moods: ClassVar[dict[str, dict[str, int]]] = {
        "mixed": {},
        "working": {"work": 20, "settle": 8, "hand_over": 12},
        "by contract": {
            "start_tasks": 20, "complete_task": 30, "fail_task": 5, "poll": 1, "settle_all": 0, "hand_over": 0,
            "work": 0,
        },
        "failing": {"poll": 12, "settle_all": 16, "hand_over": 8, "fail_task": 6, "advance_time": 8, "extend": 8},
        "under control": {
            "cancel_run": 4, "retry_run": 12, "rerun": 4, "pause_flow": 2, "work": 8, "settle": 6, "hand_over": 10,
        },
        "stalling": {"neglect": 6, "forget": 6, "fail_stalled_tasks": 8, "lapse": 4, "lose_worker": 2},
    }  # fmt: skip

    def __init__(self, real: Real, exercised: Counter[str], data: st.DataObject) -> None:
        self.real = real
        self.exercised = exercised
        self.data = data
        self.engine = Engine()
        self.claims: list[TaskKey] = []
        self.fences: dict[str, int] = {}
        self.workers = list(_WORKERS)
        self.slug = "history"  # always the same, so that statements stay prepared
        self.mood = ""
        self.is_paused = False

    def play(self) -> None:
        self.mood = self.pick(self.moods, "mood")
        self.create_flow()
        weights = self.weights | self.moods[self.mood]
        late = 0
        for _ in range(self.draw(st.sampled_from((24, 16, 8)), "operations")):
            choice = [name for name, weight in weights.items() for _ in range(weight) if self.can(name)]
            getattr(self, self.draw(st.sampled_from(choice), "operation"))()
            late += self.is_over()
            if late > 4:
                break
        else:
            if self.pick((True, True, True, False), "to the end"):
                self.finish()
        self.did("histories")
        self.count_rows()

    def clear(self) -> None:
        self.real.clear()

    # -- choices

    def draw(self, strategy: st.SearchStrategy[Any], label: str) -> Any:
        return self.data.draw(strategy, label=label)

    def pick(self, items: Iterable[Any], label: str) -> Any:
        return self.draw(st.sampled_from(list(items)), label)

    def can(self, name: str) -> bool:
        match name:
            case "start_flow":
                return len(self.engine.runs) < 3
            case "force_skip":  # of the last, so that the others get somewhere
                return len(self.engine.runs) > 1 and list(self.engine.runs.values())[-1].status == "started"
            case "cancel_run":
                return not self.is_over()
            case "retry_run":
                return any(run.status != "started" for run in self.engine.runs.values())
            case "rerun":
                return len(self.engine.runs) < 5
            case "pause_flow":
                return not self.is_paused
            case "resume_flow":
                return self.is_paused
            case "complete_task" | "complete_task_with_sql_null" | "fail_task" | "start_tasks" | "deliver_again":
                return bool(self.tasks())
            case "requeue_stalled_tasks":
                return self.is_any(lambda task: task.started_at and task.started_at < self.engine.now)
            case "fail_stalled_tasks":
                return self.is_any(lambda task: task.permanently_stalled_at)
            case "poll" | "work" | "neglect" | "forget":
                return bool(self.engine.messages)
            case "settle" | "settle_all" | "hand_over":
                return bool(self.held())
            case "settle_again" | "extend":
                return bool(self.claims)
            case "lapse" | "grant_grace" | "show_early":
                return bool(self.leased())
            case "lose_worker":
                return len(self.workers) > 1
            case _:
                return True

    def is_over(self) -> bool:
        return all(run.status != "started" for run in self.engine.runs.values())

    def hows(self, most: int) -> list[str]:
        kinds = st.sampled_from(_MOODS_HOWS.get(self.mood, _HOWS))
        return self.draw(st.lists(kinds, min_size=1, max_size=most), "how")

    def worker(self) -> UUID:
        return self.pick(self.workers, "worker")

    # -- runs

    def draw_shape(self) -> dict[str, Any]:
        return self.draw(shapes(), "shape")

    def create_flow(self) -> None:
        self.shape = self.draw_shape()
        self.engine.create_flow(self.slug, self.shape)
        self.real.create_flow(self.slug, self.shape)
        for worker_id in self.workers:
            self.real.add_worker(worker_id)
        # one that is always there: with no worker alive, an outage would be taken for granted
        self.real.add_worker(UUID(int=9))
        self.start_flow()

    def start_flow(self) -> None:
        run_id = UUID(int=100 + len(self.engine.runs))
        raw = json.dumps(self.draw(inputs(self.shape), "input")).encode()
        self.engine.start_flow(self.slug, raw, run_id)
        self.real.start_flow(raw, run_id)
        self.did("start_flow")
        self.agree()

    def force_skip(self) -> None:
        run = list(self.engine.runs.values())[-1]
        args = (run.run_id, self.pick(run.steps, "step"), "dependency_skipped")
        assert self.real.force_skip(*args) == self.engine.force_skip(*args)
        self.engine.maybe_complete_run(run.run_id)
        self.real.maybe_complete_run(run.run_id)
        self.did("force_skip")
        self.agree()

    # -- run control

    def cancel_run(self) -> None:
        run = self.likely_run("started")
        reason = self.pick(("no use", None), "reason")
        self.tried("cancel_run", run, self.real.cancel_run(run.run_id, reason), self.engine.cancel_run, reason)

    def retry_run(self) -> None:
        run = self.likely_run("failed")
        left = _left_of(run) if run.status == "failed" else Counter()
        if self.tried("retry_run", run, self.real.retry_run(run.run_id), self.engine.retry_run):
            self.exercised.update({f"retry_run of {what}": count for what, count in left.items()})

    def rerun(self) -> None:
        run = self.likely_run(self.pick(("completed", "failed", "started"), "of"))
        last = [slug for slug in run.steps if not any(run.dependents(slug))]  # from there most is taken over
        slug = self.pick([*run.steps, *last * 3], "step")
        given = self.draw(st.none() | inputs(self.shape) | st.just({"go": True}), "input")
        raw = None if given is None else json.dumps(given).encode()
        found = self.real.rerun(run.run_id, slug, raw)
        if new := self.tried("rerun", run, found, self.engine.rerun, slug, raw, found and found.run_id):
            self.exercised.update(f"rerun, then: {s.status} steps" for s in new.steps.values())

    def tried(self, what: str, run: RunRow, found: Run | None, change: Callable[..., Any], *args: Any) -> RunRow | None:
        """Done in the database, where it may have been refused; then as well in the model. Returns what came of it."""
        what += f": {'cancelled' if run.cancelled_at else run.status} run"
        try:
            change(run.run_id, *args)
        except (RunStateError, InvalidInputError):
            assert found is None, "only the model refuses"
            what += ", refused"
        else:
            assert found is not None, "only the database refuses"
        self.did(what)
        self.agree()
        if found is None:
            return None
        changed = self.engine.runs[found.run_id]
        status = "cancelled" if changed.cancelled_at else changed.status
        assert (found.status, found.error) == (status, changed.error_message)
        return changed

    def pause_flow(self) -> None:
        self.engine.pause_flow(self.slug)
        self.real.pause_flow()
        self.is_paused = True
        self.did("pause_flow", waiting=len(self.engine.messages))
        self.agree()
        if self.held() and self.pick((True, False), "what runs goes on"):
            self.handed_over(self.results(self.held()))

    def resume_flow(self) -> None:
        self.engine.resume_flow(self.slug)
        self.real.resume_flow()
        self.is_paused = False
        self.did("resume_flow", waiting=len(self.engine.messages))
        self.agree()

    def during(self) -> str:
        return ", paused" if self.is_paused else ""

    # -- the contract's way of working

    def start_tasks(self) -> None:
        tasks = {self.likely_task("queued") for _ in range(self.pick((1, 2, 4), "tasks"))}
        self.started(tasks, self.worker())

    def started(self, tasks: set[TaskId], worker_id: UUID) -> None:
        claimed = self.engine.start_tasks(self.slug, {self.row(task).message_id for task in tasks}, worker_id)
        found = self.real.start_tasks(tasks, worker_id)
        assert sorted((c["task"], c["input"], c["flow_input"]) for c in found) == sorted(map(self.record, claimed))
        self.claims += [task.key for task in claimed]
        self.did("start_tasks" + self.during(), claimed=len(claimed))
        self.agree()

    def complete_task(self) -> None:
        task = self.likely_task("started")
        raw = self.output_for(task)
        self.did("complete_task", task)
        self.engine.complete_task(task, raw)
        self.real.complete_task(task, raw)
        self.agree()

    def complete_task_with_sql_null(self) -> None:
        task = self.likely_task("started")
        self.did("complete_task (null)", task)
        self.engine.complete_task(task, None)
        self.real.complete_task(task, None)
        self.agree()

    def fail_task(self) -> None:
        self.fail(self.likely_task("started"))

    def fail(self, task: TaskId) -> None:
        self.did("fail_task", task)
        self.engine.fail_task(task, "it broke")
        self.real.fail_task(task, "it broke")
        self.agree()

    def requeue_stalled_tasks(self) -> None:
        requeued = self.engine.requeue_stalled_tasks()
        assert self.real.requeue_stalled_tasks() == requeued
        self.did("requeue_stalled_tasks", requeued=requeued)
        self.agree()

    def forget(self) -> None:
        """A foreign worker that starts everything and never answers; the fourth time, its tasks are given up."""
        self.did("forget")
        worker_id = self.worker()
        for _ in range(self.pick((4, 1, 2), "times")):
            self.started(set(self.tasks("queued")), worker_id)
            self.advance_by(self.pick((2, 2, 2, 1), "quanta"))
            self.requeue_stalled_tasks()
        self.follow_giving_up()

    def follow_giving_up(self) -> None:
        """What was given up is failed, or answered late after all, or left."""
        given_up = [t for t in self.tasks("started") if self.row(t).permanently_stalled_at]
        if not given_up:
            return
        match self.pick(("failed", "answered", "answered", "left"), "then"):
            case "failed":
                self.fail_stalled_tasks()
            case "answered":
                self.fail(self.pick(given_up, "task"))

    # -- our way of working

    def poll(self) -> None:
        self.polled(self.worker(), self.pick((_ALL, 1, 3, 10), "at most"))

    def polled(self, worker_id: UUID, qty: int = _ALL) -> list[Task]:
        self.real.show_lapsed()
        tasks = self.real.poll(worker_id, qty)
        # which of many it deals with is the database's choice; all of them if there is room
        dealt_with = None if qty == _ALL else {_id(task.key) for task in tasks} | self.real.given_up()
        claimed = self.engine.poll(worker_id, qty, LEASE, only=dealt_with)
        if qty != _ALL:
            self.drop_strays(down_to=self.real.strays())
        self.claimed(tasks, claimed)
        self.did("poll" + self.during(), claimed=len(tasks))
        self.agree()
        return tasks

    def claimed(self, tasks: list[Task], by_engine: list[Task]) -> None:
        assert sorted(map(self.record, tasks)) == sorted(map(self.record, by_engine))
        assert sorted(map(_claim, tasks)) == sorted(map(_claim, by_engine))
        self.claims += [task.key for task in tasks]

    def drop_strays(self, down_to: int) -> None:
        strays = [m for m in self.engine.messages.values() if m.task.message_id != m.msg_id]
        assert down_to <= len(strays)
        for message in strays[down_to:]:
            del self.engine.messages[message.msg_id]

    def settle(self) -> None:
        """Some of what is held, and now and then what is not any more, in any mixture."""
        likely = self.held() * 5 + self.claims
        self.settled([self.outcome(self.pick(likely, "claim"), how) for how in self.hows(6)])

    def settle_again(self) -> None:
        self.settled([self.outcome(self.pick(self.claims[::-1], "claim"), how) for how in self.hows(2)])

    def settle_all(self) -> None:
        """Everything that is held ends, one way or another, in one call."""
        self.did("settle_all")
        hows = self.hows(4)
        self.settled([self.outcome(key, hows[n % len(hows)]) for n, key in enumerate(self.held())])

    def work(self) -> None:
        """Everything succeeds for a while: histories get somewhere."""
        self.did("work")
        for _ in range(self.pick((1, 2, 3), "rounds")):
            self.work_once()

    def work_once(self) -> None:
        self.polled(self.worker())
        if held := self.held():
            # out of order, as parallel handlers end
            results = self.results(self.draw(st.permutations(held), "order"))
            self.pick((self.settled, self.handed_over), "how")(results)
        else:
            self.advance_by(1)

    def finish(self) -> None:
        """Everything succeeds until the end, whatever has happened."""
        if self.is_paused:
            self.resume_flow()
        for _ in range(20):
            if self.is_over():
                break
            self.work_once()
            if self.can("fail_stalled_tasks"):
                self.fail_stalled_tasks()
        self.did("finish", unfinished=not self.is_over())

    def settled(self, outcomes: list[Outcome]) -> None:
        worker_id = self.worker()
        verdicts = self.engine.settle(worker_id, outcomes)
        found = self.real.settle(worker_id, outcomes)
        assert found == verdicts
        self.answered(outcomes, verdicts)
        self.agree()

    def hand_over(self) -> None:
        """Mostly results; their worker goes on with what follows from them, without asking the queue."""
        held = self.held()
        outcomes = self.results(held[: self.pick((1, 2, len(held)), "results")])
        if self.pick((False,) * 5 + (True,), "mixed"):
            outcomes += [self.outcome(self.pick(self.claims, "claim"), how) for how in self.hows(2)]
        self.handed_over(outcomes, self.pick((_ALL, _ALL, 1, 0), "at most"))

    def handed_over(self, outcomes: list[Outcome], qty: int = _ALL) -> None:
        worker_id = self.worker()
        verdicts, claimed = self.engine.settle_and_hand_over(worker_id, outcomes, qty, LEASE)
        found, tasks = self.real.settle_and_hand_over(worker_id, outcomes, qty)
        assert found == verdicts
        self.claimed(tasks, claimed)
        self.answered(outcomes, verdicts)
        self.did("hand_over" + self.during(), claimed=len(tasks))
        self.agree()

    def answered(self, outcomes: list[Outcome], verdicts: list[Verdict]) -> None:
        for outcome, verdict in zip(outcomes, verdicts, strict=True):
            self.did(f"settle {outcome.status}: {verdict}")

    def extend(self) -> None:
        worker_id = self.worker()
        likely = self.held() * 3 + self.claims
        held = list({self.pick(likely, "claim") for _ in range(self.pick((1, 2, 4), "claims"))})
        lost = self.engine.extend(worker_id, held, LEASE)
        assert set(self.real.extend(worker_id, held)) == set(lost)
        self.did("extend", lost=len(lost))
        self.agree()

    def fail_stalled_tasks(self) -> None:
        failed = self.engine.fail_stalled_tasks()
        assert self.real.fail_stalled_tasks() == failed
        self.did("fail_stalled_tasks", failed=failed)
        self.agree()

    # -- what happens to them

    def advance_time(self) -> None:
        self.advance_by(self.pick((1, 2, 4), "quanta"))

    def advance_by(self, quanta: int) -> None:
        self.engine.advance_time(quanta * QUANTUM)
        self.real.advance_time(quanta * QUANTUM)
        self.did("advance_time")
        self.agree()

    def neglect(self) -> None:
        """A worker that takes everything and never answers; the fifth time, its tasks are given up."""
        self.did("neglect")
        worker_id = self.worker()
        for _ in range(self.pick((1, 2, 5), "times")):
            self.polled(worker_id)
            self.advance_by(2)
        self.follow_giving_up()

    def lapse(self) -> None:
        task = self.pick(self.leased(), "task")
        self.engine.lapse(task)
        self.real.lapse(task)
        self.did("lapse")
        self.agree()

    def show_early(self) -> None:
        """A foreign hand makes the messages of leased tasks visible; and a poll comes upon them."""
        for task in self.leased():
            self.engine.show(self.row(task))
            self.real.show(task)
        self.did("show_early")
        self.polled(self.worker())

    def grant_grace(self) -> None:
        self.engine.grant_grace(LEASE)
        self.real.grant_grace(LEASE)
        self.did("grant_grace")
        self.agree()
        if self.leased():
            self.lapse()
            self.polled(self.worker())

    def lose_worker(self) -> None:
        """A worker takes what there is and is gone; what it held is found by another."""
        worker_id = self.workers.pop()
        self.polled(worker_id)
        self.engine.lose_worker(worker_id)
        self.real.lose_worker(worker_id)
        self.did("lose_worker")
        if self.leased():
            self.lapse()
            self.polled(self.worker())

    def deliver_again(self) -> None:
        task = self.likely_task("started")
        self.engine.deliver_again(task)
        self.real.deliver_again(task)
        self.did("deliver_again")
        self.agree()

    # -- what must be true after each of them

    def agree(self) -> None:
        expected, found = self.expected(), self.real.snapshot()
        self.engine.events.clear()
        differences = _differences(expected, found)
        assert not differences, "\n".join(differences)
        assert self.real.broken_invariants() == []
        fences = {task: row.get("fence", 0) for task, row in found["tasks"].items()}
        assert all(fences[task] >= fence for task, fence in self.fences.items())
        self.fences = fences

    def expected(self) -> dict[str, Any]:
        """The model's rows, and what it emitted since it was last asked."""
        events = [plain_event(json.loads(json.dumps(e, default=str))) for e in self.engine.events]
        return snapshot(self.engine) | {"events": events}

    # -- counts

    def did(self, what: str, task: TaskId | None = None, **counts: int) -> None:
        if task is not None:
            run, step = self.engine.runs[task[0]], self.engine.runs[task[0]].steps[task[1]]
            what += f": {self.row(task).status} task, {step.status} step, {run.status} run"
        self.exercised[what] += 1
        for name, count in counts.items():
            self.exercised[f"{what}: {name}"] += count

    def count_rows(self) -> None:
        for run in self.engine.runs.values():
            self.did(f"runs at the end: {run.status}")
            for step in run.steps.values():
                why = f" ({step.skip_reason})" if step.skip_reason else ""
                if step.status == "completed" and not step.tasks:
                    why = " (without tasks)"
                self.did(f"steps at the end: {step.status}{why}")

    # -- runs and tasks

    def likely_run(self, status: str) -> RunRow:
        """Mostly one of this status."""
        runs = list(self.engine.runs.values())
        likely = [run for run in runs if run.status == status] * 5 + runs
        return self.engine.runs[self.pick([run.run_id for run in likely], "run")]

    def tasks(self, status: str | None = None) -> list[TaskId]:
        runs = self.engine.runs.values()
        found = ((r.run_id, s.spec.slug, t) for r in runs for s in r.steps.values() for t in s.tasks)
        return [(run_id, slug, t.index) for run_id, slug, t in found if status in (None, t.status)]

    def row(self, task: TaskId) -> Any:
        return self.engine.runs[task[0]].steps[task[1]].tasks[task[2]]

    def is_any(self, holds: Callable[[Any], Any]) -> bool:
        return any(holds(self.row(t)) for t in self.tasks("started"))

    def held(self) -> list[TaskKey]:
        """Claims that nobody has answered or taken over."""
        tasks = [(key, self.row(_id(key))) for key in self.claims]
        return [key for key, task in tasks if task.status == "started" and task.fence == key.fence]

    def leased(self) -> list[TaskId]:
        return [t for t in self.tasks("started") if self.row(t).leased_until is not None]

    def likely_task(self, status: str) -> TaskId:
        """Mostly one of this status."""
        likely = self.tasks(status)
        return self.pick(likely if likely and self.draw(_any, "likely") % 6 else self.tasks(), "task")

    def output_for(self, task: TaskId) -> bytes:
        feeds_map = any(s.is_map for s in self.engine.flows[self.slug].dependents(task[1]))
        return json.dumps(self.pick(LISTS if feeds_map else OUTPUTS, "output")).encode()

    def record(self, task: Task) -> tuple[Any, ...]:
        """What a worker is told of a task, but for its claim."""
        return _id(task.key), canonical(task.input), canonical(task.flow_input)

    def results(self, keys: Iterable[TaskKey]) -> list[Outcome]:
        return [self.outcome(key, "completed") for key in keys]

    def outcome(self, key: TaskKey, how: str) -> Outcome:
        match how:
            case "completed":
                return Outcome.completed(key, self.output_for(_id(key)))
            case "failed":
                return Outcome.failed(key, "it broke")
            case "failed for good":
                return Outcome.failed(key, "it broke for good", permanent=True)
            case "retry in":
                return Outcome.failed(key, "it may work later", retry_in=float(self.pick((0, QUANTUM), "delay")))
            case _:
                return Outcome.released(key)


def _id(key: TaskKey) -> TaskId:
    return key.run_id, key.step_slug, key.task_index


def _left_of(run: RunRow) -> Counter[str]:
    """In what state a run's steps and tasks are."""
    steps = (f"{s.status} steps{', begun' if s.started_at else ''}" for s in run.steps.values())
    tasks = (f"{t.status} tasks, {s.status} step" for s in run.steps.values() for t in s.tasks)
    return Counter((*steps, *tasks))


def _claim(task: Task) -> tuple[Any, ...]:
    return _id(task.key), task.fence, task.attempt, task.max_attempts, task.timeout, task.base_delay


def _differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """One line per row and column in which the database is not as the model says."""
    lines = []
    # in order within each run; what happens to several runs in one call has no order
    model, database = (sorted(side["events"], key=lambda event: event["run_id"]) for side in (expected, found))
    if model != database:
        lines += [f"events: only in the model: {e}" for e in model if e not in database]
        lines += [f"events: only in the database: {e}" for e in database if e not in model]
        lines += [
            f"events of the {n}: {[_name(e) for e in ev]}" for n, ev in (("model", model), ("database", database))
        ]
    for table in ("runs", "steps", "tasks"):
        for key in expected[table].keys() | found[table].keys():
            model, database = expected[table].get(key, {}), found[table].get(key, {})
            for column in model.keys() | database.keys():
                if model.get(column) != database.get(column):
                    lines.append(f"{key}: {column}: model {model.get(column)!r}, database {database.get(column)!r}")
    if expected.get("stray") != found.get("stray"):
        lines.append(f"stray: model {expected.get('stray')}, database {found.get('stray')}")
    return sorted(lines)


def _name(event: dict[str, Any]) -> str:
    return f"{event['event_type']} {event.get('step_slug', '')}".strip()
