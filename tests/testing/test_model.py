"""Random histories of random flows: the database and the in-memory model must agree after every operation.

PGFLOW_HISTORIES sets how many (default 100, always the same ones; with another number they differ from run to run).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pgflow.records import Outcome, Task, TaskKey
from pgflow.testing.model import Engine, TaskId, snapshot
from tests.support import eventually, value
from tests.testing.flows import LISTS, OUTPUTS, inputs, shapes
from tests.testing.real import LEASE, QUANTUM, SHORT_LEASE, Real, plain_event

_HISTORIES = int(os.environ.get("PGFLOW_HISTORIES", "0"))
_WORKERS = [UUID(int=1), UUID(int=2)]

#: A poll for more than there can be.
_ALL = 500
#: Which of a list: taken modulo its length.
_any = st.integers(0, 999)
_hows = st.sampled_from(("completed", "failed", "failed for good", "retry in", "released", "completed"))


@pytest.fixture
def real(conn: psycopg.Connection) -> Real:
    eventually(
        lambda: value(conn, "select now() - pg_postmaster_start_time() > make_interval(secs => %s)", SHORT_LEASE + 1)
    )
    return Real(conn)


@pytest.mark.timeout(600 + _HISTORIES)  # shrinking a failure takes minutes
def test_model_and_database_agree(
    real: Real, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    exercised: Counter[str] = Counter()
    machine = settings(
        max_examples=_HISTORIES or 100,
        stateful_step_count=50,
        derandomize=not _HISTORIES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
    )
    run_state_machine_as_test(lambda: History(real, exercised), settings=machine)
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:7} {what}" for what, count in sorted(exercised.items())))
    for what, count in exercised.items():
        record_property(what, count)


class History(RuleBasedStateMachine):
    """One flow, up to three runs, two workers and a foreign caller; each rule does the same on both sides."""

    def __init__(self, real: Real, exercised: Counter[str]) -> None:
        super().__init__()
        self.real = real
        self.exercised = exercised
        self.engine = Engine()
        self.claims: list[TaskKey] = []
        self.fences: dict[str, int] = {}
        self.workers = list(_WORKERS)

    @initialize(shape=shapes(), data=st.data())
    def create_flow(self, shape: dict[str, Any], data: st.DataObject) -> None:
        self.exercised["histories"] += 1
        self.slug = f"history_{self.exercised['histories']}"
        self.shape = shape
        self.engine.create_flow(self.slug, shape)
        self.real.create_flow(self.slug, shape)
        for worker_id in self.workers:
            self.real.add_worker(worker_id)
        # one that is always there: with no worker alive, an outage would be taken for granted
        self.real.add_worker(UUID(int=9))
        self.start_flow(data)

    def teardown(self) -> None:
        for run in self.engine.runs.values():
            self.exercised[f"runs at the end: {run.status}"] += 1
            for step in run.steps.values():
                self.exercised[f"steps at the end: {step.status}"] += 1
        self.real.clear()

    # -- runs

    @precondition(lambda self: len(self.engine.runs) < 3)
    @rule(data=st.data())
    def start_flow(self, data: st.DataObject) -> None:
        run_id = UUID(int=100 + len(self.engine.runs))
        raw = json.dumps(data.draw(inputs(self.shape), label="input")).encode()
        self.engine.start_flow(self.slug, raw, run_id)
        self.real.start_flow(raw, run_id)
        self.did("start_flow")

    @precondition(lambda self: len(self.engine.runs) > 1)
    @rule(step=_any)
    def force_skip(self, step: int) -> None:
        run = list(self.engine.runs.values())[-1]  # always the same one, so that the others get somewhere
        slug = self.nth(list(run.steps), step)
        args = (run.run_id, slug, "dependency_skipped")
        assert self.real.force_skip(*args) == self.engine.force_skip(*args)
        self.engine.maybe_complete_run(run.run_id)
        self.real.maybe_complete_run(run.run_id)
        self.did("force_skip")

    # -- the contract's way of working

    @precondition(lambda self: self.tasks())
    @rule(which=st.lists(_any, min_size=1, max_size=4), worker=_any)
    def start_tasks(self, which: list[int], worker: int) -> None:
        tasks = {self.nth(self.tasks(), n) for n in which}
        worker_id = self.nth(self.workers, worker)
        msg_ids = {self.row(task).message_id for task in tasks}
        claimed = self.engine.start_tasks(self.slug, msg_ids, worker_id)
        found = self.real.start_tasks(tasks, worker_id)
        assert sorted((c["task"], c["input"], c["flow_input"]) for c in found) == sorted(map(_record, claimed))
        self.claims += [task.key for task in claimed]
        self.did("start_tasks", claimed=len(claimed))

    @precondition(lambda self: self.tasks())
    @rule(which=_any, output=_any)
    def complete_task(self, which: int, output: int) -> None:
        task = self.likely_task(which)
        raw = self.output_for(task, output)
        self.did("complete_task", task)
        self.engine.complete_task(task, raw)
        self.real.complete_task(task, raw)

    @precondition(lambda self: self.tasks())
    @rule(which=_any)
    def complete_task_with_sql_null(self, which: int) -> None:
        task = self.likely_task(which)
        self.did("complete_task (null)", task)
        self.engine.complete_task(task, None)
        self.real.complete_task(task, None)

    @precondition(lambda self: self.tasks())
    @rule(which=_any)
    def fail_task(self, which: int) -> None:
        task = self.likely_task(which)
        self.did("fail_task", task)
        self.engine.fail_task(task, "it broke")
        self.real.fail_task(task, "it broke")

    @precondition(lambda self: self.is_any(lambda task: task.started_at and task.started_at < self.engine.now))
    @rule()
    def requeue_stalled_tasks(self) -> None:
        requeued = self.engine.requeue_stalled_tasks()
        assert self.real.requeue_stalled_tasks() == requeued
        self.did("requeue_stalled_tasks", requeued=requeued)

    # -- our way of working

    @precondition(lambda self: self.engine.messages)
    @rule(worker=_any, qty=st.sampled_from((1, 3, 10, _ALL)))
    def poll(self, worker: int, qty: int) -> None:
        self.polled(worker, qty)

    def polled(self, worker: int, qty: int) -> list[Task]:
        worker_id = self.nth(self.workers, worker)
        self.real.show_lapsed()
        tasks = self.real.poll(worker_id, qty)
        # which of many it deals with is the database's choice; all of them if there is room
        dealt_with = None if qty == _ALL else {_id(task.key) for task in tasks} | self.real.given_up()
        claimed = self.engine.poll(worker_id, qty, LEASE, only=dealt_with)
        if qty != _ALL:
            self.drop_strays(down_to=self.real.strays())
        assert sorted(map(_record, tasks)) == sorted(map(_record, claimed))
        assert sorted(map(_claim, tasks)) == sorted(map(_claim, claimed))
        self.claims += [task.key for task in tasks]
        self.did("poll", claimed=len(tasks))
        return tasks

    def drop_strays(self, down_to: int) -> None:
        strays = [m for m in self.engine.messages.values() if m.task.message_id != m.msg_id]
        assert down_to <= len(strays)
        for message in strays[down_to:]:
            del self.engine.messages[message.msg_id]

    @precondition(lambda self: self.held())
    @rule(worker=_any, batch=st.lists(st.tuples(_any, _hows, _any), min_size=1, max_size=6))
    def settle(self, worker: int, batch: list[tuple[int, str, int]]) -> None:
        likely = self.held() * 5 + self.claims
        self.settled(worker, [self.outcome(self.nth(likely, n), how, output) for n, how, output in batch])

    @precondition(lambda self: self.claims)
    @rule(worker=_any, which=_any, how=_hows)
    def settle_again(self, worker: int, which: int, how: str) -> None:
        self.settled(worker, [self.outcome(self.nth(self.claims, which), how, which)])

    @precondition(lambda self: self.engine.messages)
    @rule(worker=_any, output=_any, rounds=st.integers(1, 4))
    def work(self, worker: int, output: int, rounds: int) -> None:
        """Everything succeeds for a while: histories get somewhere."""
        self.did("work")
        for turn in range(rounds):
            tasks = self.polled(worker, _ALL)
            if tasks:
                self.settled(
                    worker, [self.outcome(t.key, "completed", output + 7 * n + turn) for n, t in enumerate(tasks)]
                )
            else:
                self.advance_time(1)

    @precondition(lambda self: self.held())
    @rule(worker=_any, hows=st.lists(_hows, min_size=1, max_size=4), output=_any)
    def settle_all(self, worker: int, hows: list[str], output: int) -> None:
        """Everything that is held ends, one way or another, in one call."""
        self.did("settle_all")
        held = enumerate(self.held())
        self.settled(worker, [self.outcome(key, self.nth(hows, n), output + 7 * n) for n, key in held])

    def settled(self, worker: int, outcomes: list[Outcome]) -> None:
        worker_id = self.nth(self.workers, worker)
        verdicts = self.engine.settle(worker_id, outcomes)
        found = self.real.settle(worker_id, outcomes)
        assert found == verdicts
        for outcome, verdict in zip(outcomes, verdicts, strict=True):
            self.did(f"settle {outcome.status}: {verdict}")

    @precondition(lambda self: self.claims)
    @rule(worker=_any, which=st.lists(_any, min_size=1, max_size=5))
    def extend(self, worker: int, which: list[int]) -> None:
        worker_id = self.nth(self.workers, worker)
        held = list({self.nth(self.claims[::-1], n) for n in which})
        lost = self.engine.extend(worker_id, held, LEASE)
        assert set(self.real.extend(worker_id, held)) == set(lost)
        self.did("extend", lost=len(lost))

    @precondition(lambda self: self.is_any(lambda task: task.permanently_stalled_at))
    @rule()
    def fail_stalled_tasks(self) -> None:
        failed = self.engine.fail_stalled_tasks()
        assert self.real.fail_stalled_tasks() == failed
        self.did("fail_stalled_tasks", failed=failed)

    # -- what happens to them

    @rule(steps=st.sampled_from((1, 1, 2, 4)))
    def advance_time(self, steps: int) -> None:
        self.engine.advance_time(steps * QUANTUM)
        self.real.advance_time(steps * QUANTUM)
        self.did("advance_time")

    @precondition(lambda self: self.engine.messages)
    @rule(worker=_any, times=st.sampled_from((1, 2, 5)), settled=st.booleans())
    def neglect(self, worker: int, times: int, settled: bool) -> None:
        """A worker that takes everything and never answers; the fifth time, its tasks are given up."""
        self.did("neglect")
        for _ in range(times):
            self.polled(worker, _ALL)
            self.advance_time(2)
        if settled:
            self.fail_stalled_tasks()

    @precondition(lambda self: self.leased())
    @rule(which=_any)
    def lapse(self, which: int) -> None:
        task = self.nth(self.leased(), which)
        self.engine.lapse(task)
        self.real.lapse(task)
        self.did("lapse")

    @precondition(lambda self: self.leased())
    @rule()
    def grant_grace(self) -> None:
        self.engine.grant_grace(LEASE)
        self.real.grant_grace(LEASE)
        self.did("grant_grace")

    @precondition(lambda self: len(self.workers) > 1)
    @rule()
    def lose_worker(self) -> None:
        worker_id = self.workers.pop()
        self.engine.lose_worker(worker_id)
        self.real.lose_worker(worker_id)
        self.did("lose_worker")

    @precondition(lambda self: self.tasks())
    @rule(which=_any)
    def deliver_again(self, which: int) -> None:
        task = self.nth(self.tasks(), which)
        self.engine.deliver_again(task)
        self.real.deliver_again(task)
        self.did("deliver_again")

    # -- what must be true after each of them

    @invariant()
    def they_agree(self) -> None:
        expected, found = snapshot(self.engine), self.real.snapshot()
        expected["events"] = [plain_event(json.loads(json.dumps(e, default=str))) for e in self.engine.events]
        self.engine.events.clear()
        differences = _differences(expected, found)
        assert not differences, "\n".join(differences)
        assert self.real.broken_invariants() == []
        fences = {task: row["fence"] for task, row in found["tasks"].items()}
        assert all(fences[task] >= fence for task, fence in self.fences.items())
        self.fences = fences

    # -- choices

    def did(self, what: str, task: TaskId | None = None, **counts: int) -> None:
        if task is not None:
            run, step = self.engine.runs[task[0]], self.engine.runs[task[0]].steps[task[1]]
            what += f": {self.row(task).status} task, {step.status} step, {run.status} run"
        self.exercised[what] += 1
        for name, count in counts.items():
            self.exercised[f"{what}: {name}"] += count

    @staticmethod
    def nth(items: list[Any], n: int) -> Any:
        return items[n % len(items)]

    def tasks(self) -> list[TaskId]:
        runs = self.engine.runs.values()
        return [(r.run_id, s.spec.slug, t.index) for r in runs for s in r.steps.values() for t in s.tasks]

    def row(self, task: TaskId) -> Any:
        return self.engine.runs[task[0]].steps[task[1]].tasks[task[2]]

    def is_any(self, holds: Callable[[Any], Any]) -> bool:
        return any(self.row(t).status == "started" and holds(self.row(t)) for t in self.tasks())

    def held(self) -> list[TaskKey]:
        """Claims that nobody has answered or taken over."""
        tasks = [(key, self.row(_id(key))) for key in self.claims]
        return [key for key, task in tasks if task.status == "started" and task.fence == key.fence]

    def leased(self) -> list[TaskId]:
        return [t for t in self.tasks() if self.row(t).status == "started" and self.row(t).leased_until is not None]

    def likely_task(self, which: int) -> TaskId:
        """Mostly one that is started."""
        started = [t for t in self.tasks() if self.row(t).status == "started"]
        return self.nth(started if started and which % 5 else self.tasks(), which // 5)

    def output_for(self, task: TaskId, which: int) -> bytes:
        feeds_map = any(s.is_map for s in self.engine.flows[self.slug].dependents(task[1]))
        choices: Any = LISTS * 2 if feeds_map else OUTPUTS
        if feeds_map and which % 3:
            choices = LISTS[:6]
        return json.dumps(self.nth(choices, which)).encode()

    def outcome(self, key: TaskKey, how: str, output: int) -> Outcome:
        match how:
            case "completed":
                return Outcome.completed(key, self.output_for(_id(key), output))
            case "failed":
                return Outcome.failed(key, "it broke")
            case "failed for good":
                return Outcome.failed(key, "it broke for good", permanent=True)
            case "retry in":
                return Outcome.failed(key, "it may work later", retry_in=float(output % 3 * QUANTUM))
            case _:
                return Outcome.released(key)


def _id(key: TaskKey) -> TaskId:
    return key.run_id, key.step_slug, key.task_index


def _record(task: Task) -> tuple[Any, ...]:
    flow_input = None if task.flow_input is None else json.dumps(json.loads(task.flow_input), sort_keys=True)
    return _id(task.key), json.dumps(json.loads(task.input), sort_keys=True), flow_input


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
    if expected["stray"] != found["stray"]:
        lines.append(f"stray: model {expected['stray']}, database {found['stray']}")
    return sorted(lines)


def _name(event: dict[str, Any]) -> str:
    return f"{event['event_type']} {event.get('step_slug', '')}".strip()
