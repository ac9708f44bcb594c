"""The same histories on the schema that pgflow itself ships, so that our model and our SQL cannot share an error.

`@pgflow/core` 0.8.1 comes from the npm registry; of what it does otherwise, only this is left out or translated:

- It has no conditions, skips, leases, fences, requeueing, declared lengths nor run control (all later than 0.8.1, or
  ours): not exercised.
- Its single steps find the run's input under the key `run`; 0.14 hands it out as `flow_input`: translated.
- It keeps no output of steps and no error of runs: not compared; the outputs are, in inputs and events.
- Its `fail_task` for a task that is queued delays the task's message; to the contract nothing changes: not called so.
- Its `start_tasks` leaves the messages' visibility as it was (no part of its query needs the CTE that would set it, so
  PostgreSQL leaves that out): compared for queued tasks only.
- Its `complete_task` for a step that has completed tells of that again (late callbacks came later): such an event is
  dropped, the rows are compared.
- It starts steps that become ready together in no set order: the events of one operation are compared as a set.
- Of several map steps that wait for what is no array, its type violation names any: the name is not compared.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest

from pgflow.records import Task
from pgflow.testing.model import TaskId
from pgflow.testing.model.snapshot import canonical
from tests.foreign import npm
from tests.foreign.cores import install_pgflow
from tests.testing.history import History, play
from tests.testing.real import INVARIANTS, Real

pytestmark = pytest.mark.slow

_SNAPSHOT = """
select json_build_object(
  'runs', (select coalesce(json_object_agg(r.run_id, json_build_object('status', r.status,
      'remaining_steps', r.remaining_steps, 'input', r.input::text, 'output', r.output::text)), '{{}}')
    from pgflow.runs r),
  'steps', (select coalesce(json_object_agg(s.run_id || ' ' || s.step_slug, json_build_object('status', s.status,
      'remaining_deps', s.remaining_deps, 'remaining_tasks', s.remaining_tasks, 'initial_tasks', s.initial_tasks,
      'error_message', s.error_message)), '{{}}')
    from pgflow.step_states s),
  'tasks', (select coalesce(json_object_agg(t.run_id || ' ' || t.step_slug || ' ' || t.task_index, json_build_object(
      'status', t.status, 'attempts_count', t.attempts_count, 'output', t.output::text,
      'error_message', t.error_message, 'has_message', m.msg_id is not null,
      'due', case when t.status = 'queued' and m.msg_id is not null
                  then greatest(0, extract(epoch from m.vt - clock_timestamp())) end)), '{{}}')
    from pgflow.step_tasks t left join pgmq.q_{slug} m on m.msg_id = t.message_id),
  'events', (select coalesce(json_agg(s.payload order by s.id), '[]') from realtime.sent s))::text
"""
_COLUMNS = {
    "runs": {"status", "remaining_steps", "input", "output"},
    "steps": {"status", "remaining_deps", "remaining_tasks", "initial_tasks", "error_message"},
    "tasks": {"status", "attempts_count", "output", "error_message", "has_message", "due"},
}


class ForeignCore(Real):
    """A database with pgflow's own schema."""

    invariants: ClassVar = INVARIANTS

    def create_flow(self, slug: str, shape: dict[str, Any]) -> None:
        self.slug = slug
        flow = {"maxAttempts": 3} | shape["options"]
        self.connection.execute("select pgflow.create_flow(%s, %s, %s, %s)", [slug, *_options(flow)])
        for step in shape["steps"]:
            self.connection.execute(
                "select pgflow.add_step(%s, %s, %s::text[], %s, %s, %s, %s, %s)",
                [slug, step["slug"], step["dependencies"], *_options(step.get("options", {})),
                 step.get("options", {}).get("startDelay"), step["stepType"]],
            )  # fmt: skip

    def clear(self) -> None:
        if self.slug:
            for table in ("step_tasks", "step_states", "runs", "deps", "steps", "flows", "workers"):
                self.connection.execute(f"delete from pgflow.{table}")
            self.connection.execute("truncate realtime.sent")
            self.connection.execute("select pgmq.drop_queue(%s)", [self.slug])
            self.slug = ""

    def add_worker(self, worker_id: UUID) -> None:
        sql = "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, %s, 'model')"
        self.connection.execute(sql, [worker_id, self.slug])

    def start_tasks(self, tasks: Collection[TaskId], worker_id: UUID) -> list[dict[str, Any]]:
        found = self.connection.execute(
            "select run_id, step_slug, task_index, input from pgflow.start_tasks(%s, %s::bigint[], %s)",
            [self.slug, [self._message_id(t) for t in tasks], worker_id],
        ).fetchall()
        return [{"task": row[:3], "input": canonical(row[3]), "flow_input": None} for row in found]

    def complete_task(self, task: TaskId, output: bytes | None) -> None:
        text = None if output is None else output.decode()
        late = self._one("select status from pgflow.step_states where (run_id, step_slug) = (%s, %s)", *task[:2])
        # a type violation returns no row here
        self.connection.execute("select pgflow.complete_task(%s, %s, %s, %s::jsonb)", [*task, text])
        if late == "completed":
            self.connection.execute("delete from realtime.sent")

    def visible(self) -> list[TaskId]:
        """The queued tasks whose messages a worker would read now."""
        sql = (
            "select t.run_id, t.step_slug, t.task_index from pgmq.read(%s, 0, 500) m "
            "join pgflow.step_tasks t on t.message_id = m.msg_id and t.status = 'queued'"
        )
        return self.connection.execute(sql, [self.slug]).fetchall()

    def snapshot(self) -> dict[str, Any]:
        found = self._plain(json.loads(self._one(_SNAPSHOT.format(slug=self.slug))))
        return _comparable(found)


class ForeignHistory(History):
    """What 0.8.1 can do, too."""

    weights: ClassVar = {
        "start_flow": 1, "start_tasks": 4, "complete_task": 4, "complete_task_with_sql_null": 1, "fail_task": 2,
        "work": 4, "advance_time": 1,
    }  # fmt: skip
    moods: ClassVar = {
        "mixed": {},
        "working": {"work": 12, "complete_task": 8},
        "failing": {"start_tasks": 12, "fail_task": 8, "advance_time": 3},
    }

    def can(self, name: str) -> bool:
        return bool(self.not_queued()) if name == "fail_task" else super().can(name)

    def not_queued(self) -> list[TaskId]:
        return [task for task in self.tasks() if self.row(task).status != "queued"]

    def draw_shape(self) -> dict[str, Any]:
        shape = super().draw_shape()
        kept = ("slug", "stepType", "dependencies", "options")
        return shape | {"steps": [{k: step[k] for k in kept if k in step} for step in shape["steps"]]}

    def fail_task(self) -> None:
        self.fail(self.pick(self.tasks("started") * 5 + self.not_queued(), "task"))

    def work_once(self) -> None:
        """As pgflow's worker does: reads what is visible, starts it, and completes one task after the other."""
        visible = self.real.visible()
        expected = [
            (m.run.run_id, m.step.spec.slug, m.task.index)
            for m in self.engine.messages.values()
            if m.vt <= self.engine.now and m.task.status == "queued"
        ]
        assert sorted(visible) == sorted(expected)
        self.did("read", visible=len(visible))
        if visible:
            self.started(set(visible), self.worker())
        for task in self.tasks("started"):
            # one may end the run of the next
            if self.row(task).status == "started" and self.engine.runs[task[0]].status == "started":
                raw = self.output_for(task)
                self.did("complete_task", task)
                self.engine.complete_task(task, raw)
                self.real.complete_task(task, raw)
                self.agree()
        if not visible:
            self.advance_by(1)

    def record(self, task: Task) -> tuple[Any, ...]:
        task_id, given, _ = super().record(task)
        run = self.engine.runs[task.run_id]
        if not run.steps[task.step_slug].spec.is_map:
            given = canonical(json.dumps({"run": json.loads(run.input)} | json.loads(task.input)))
        return task_id, given, None

    def expected(self) -> dict[str, Any]:
        whole = super().expected()
        tables = {
            table: {key: {c: row[c] for c in columns} for key, row in whole[table].items()}
            for table, columns in _COLUMNS.items()
        }
        return _comparable(tables | {"events": whole["events"]})


def _comparable(whole: dict[str, Any]) -> dict[str, Any]:
    """The same, without what 0.8.1 leaves to chance."""
    unnamed = json.loads(re.sub(r"(?<=Map step )\w+(?= expects array input)", "*", json.dumps(whole)))
    return unnamed | {"events": sorted(unnamed["events"], key=_text)}


def _options(options: dict[str, int]) -> list[int | None]:
    return [options.get(name) for name in ("maxAttempts", "baseDelay", "timeout")]


def _text(event: dict[str, Any]) -> str:
    return json.dumps(event, sort_keys=True)


@pytest.fixture
def foreign_core(empty_dsn: str) -> Iterator[ForeignCore]:
    migrations = npm.migrations()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        found = ForeignCore(connection)
        install_pgflow(connection, migrations)
        yield found


@pytest.mark.timeout(600)
def test_model_and_foreign_core_agree(
    foreign_core: ForeignCore, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    exercised: Counter[str] = Counter()
    play(foreign_core, 200, exercised, kind=ForeignHistory)
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:7} {what}" for what, count in sorted(exercised.items())))
    for what, count in exercised.items():
        record_property(what, count)
