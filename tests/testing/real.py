"""The database side of the model's tests: the same operations, the same snapshot, and a clock that can be put forward.

Time passes by putting every stored time back. Tests move in steps of QUANTUM seconds and choose timeouts, leases and
delays so that no limit lies near a multiple of it; what a test itself takes is then too short to matter.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast
from uuid import UUID

import psycopg

from pgflow import calls
from pgflow.calls import Call
from pgflow.db.address import prepare
from pgflow.records import Outcome, Run, Task, TaskKey, Verdict
from pgflow.testing.clock import Clock
from pgflow.testing.model import TaskId
from pgflow.testing.model.snapshot import canonical
from tests.support import eventually

QUANTUM = 100
#: What workers are registered and poll with; short, since for one lease after a server's start nothing lapses.
SHORT_LEASE = 1
#: What a claim then gets instead: lapsed at the next step of the clock.
LEASE = 60

_REALTIME = """
create schema realtime;
create table realtime.sent (id bigint generated always as identity primary key, payload jsonb, event text, topic text);
create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void language sql as
  $$ insert into realtime.sent (payload, event, topic) values ($1, $2, $3) $$;
"""

#: So that a rerun gets the same id whenever a history is played.
_ORDERLY_IDS = """
create sequence realtime.ids;
alter table if exists pgflow.runs alter run_id set default lpad((900 + nextval('realtime.ids'))::text, 32, '0')::uuid;
"""

_STRAYS = (
    "(select count(*) from pgmq.q_{slug} m"
    " where not exists (select from pgflow.step_tasks t where t.message_id = m.msg_id))"
)

_SNAPSHOT = """
select json_build_object(
  'runs', coalesce((
    select json_object_agg(r.run_id, json_build_object('status', r.status, 'remaining_steps', r.remaining_steps,
             'input', r.input::text, 'output', r.output::text, 'error_message', r.error_message,
             'cancelled', r.cancelled_at is not null, 'parent', r.parent_run_id))
      from pgflow.runs r), '{{}}'),
  'steps', coalesce((
    select json_object_agg(s.run_id || ' ' || s.step_slug, json_build_object('status', s.status,
             'remaining_deps', s.remaining_deps, 'remaining_tasks', s.remaining_tasks,
             'initial_tasks', s.initial_tasks, 'output', s.output::text, 'error_message', s.error_message,
             'skip_reason', s.skip_reason))
      from pgflow.step_states s), '{{}}'),
  'tasks', coalesce((
    select json_object_agg(t.run_id || ' ' || t.step_slug || ' ' || t.task_index, json_build_object(
             'status', t.status, 'attempts_count', t.attempts_count, 'requeued_count', t.requeued_count,
             'fence', t.fence, 'settled_fence', t.settled_fence, 'given_up', t.permanently_stalled_at is not null,
             'leased', t.status = 'started' and coalesce(t.leased_until > clock_timestamp(), false),
             'output', t.output::text, 'error_message', t.error_message, 'has_message', m.msg_id is not null,
             'due', case when t.status = 'queued' and m.msg_id is not null
                         then greatest(0, extract(epoch from m.vt - clock_timestamp())) end))
      from pgflow.step_tasks t left join pgmq.q_{slug} m on m.msg_id = t.message_id), '{{}}'),
  'stray', {strays},
  'events', (select coalesce(json_agg(s.payload order by s.id), '[]') from realtime.sent s))
"""

#: Each counts what must not be there.
INVARIANTS = {
    "a run's remaining_steps is not the number of its open steps": """
        select count(*) from pgflow.runs r where r.status <> 'failed' and r.remaining_steps <> (
          select count(*) from pgflow.step_states s
           where s.run_id = r.run_id and s.status in ('created', 'started'))""",
    "a started step's remaining_tasks is not the number of its open tasks": """
        select count(*) from pgflow.step_states s join pgflow.runs r on r.run_id = s.run_id and r.status = 'started'
         where s.status = 'started' and s.remaining_tasks <> (
          select count(*) from pgflow.step_tasks t where (t.run_id, t.step_slug) = (s.run_id, s.step_slug)
             and t.status in ('queued', 'started'))""",
    "a started step has not as many tasks as it should": """
        select count(*) from pgflow.step_states s
          join lateral (select count(*) as tasks from pgflow.step_tasks t
                         where (t.run_id, t.step_slug) = (s.run_id, s.step_slug)) t on true
         where s.status in ('started', 'completed') and s.initial_tasks <> t.tasks
           -- one that a rerun took over has none
           and not (t.tasks = 0 and s.completed_at = s.created_at)""",
    "a created step's remaining_deps is not the number of its open dependencies": """
        select count(*) from pgflow.step_states s where s.status = 'created' and s.remaining_deps <> (
          select count(*) from pgflow.deps d
            join pgflow.step_states u on u.run_id = s.run_id and u.step_slug = d.dep_slug
           where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
             and u.status not in ('completed', 'skipped'))""",
    "a step has begun before one that it depends on ended": """
        select count(*) from pgflow.step_states s
          join pgflow.deps d on (d.flow_slug, d.step_slug) = (s.flow_slug, s.step_slug)
          join pgflow.step_states u on u.run_id = s.run_id and u.step_slug = d.dep_slug
         where s.started_at is not null and u.status not in ('completed', 'skipped')""",
    "a message of a task can be had under a run or step that has ended": """
        select count(*) from pgflow.step_tasks t
          join pgmq.q_{slug} m on m.msg_id = t.message_id
          join pgflow.runs r on r.run_id = t.run_id
          join pgflow.step_states s on (s.run_id, s.step_slug) = (t.run_id, t.step_slug)
         where r.status <> 'started' or s.status <> 'started'""",
    "a completed run has steps that are neither completed nor skipped": """
        select count(*) from pgflow.runs r join pgflow.step_states s using (run_id)
         where r.status = 'completed' and s.status not in ('completed', 'skipped')""",
    "a run that goes on, or is completed, has a failed step": """
        select count(*) from pgflow.runs r join pgflow.step_states s using (run_id)
         where r.status <> 'failed' and s.status = 'failed'""",
    "a message has more or less than one task": """
        select count(*) from (
          select from pgflow.step_tasks group by flow_slug, message_id having count(*) <> 1) x""",
    "a queued task of a started run and step has no message": """
        select count(*) from pgflow.step_tasks t
          join pgflow.runs r on r.run_id = t.run_id and r.status = 'started'
          join pgflow.step_states s on (s.run_id, s.step_slug) = (t.run_id, t.step_slug) and s.status = 'started'
         where t.status = 'queued' and not exists (select from pgmq.q_{slug} m where m.msg_id = t.message_id)""",
}

#: In columns that only our core has.
OUR_INVARIANTS = {
    "a run was cancelled and has not failed": """
        select count(*) from pgflow.runs r where r.cancelled_at is not null and r.status <> 'failed'""",
}


class Real:
    """A migrated database with one flow at a time, seen through the SQL functions."""

    invariants: ClassVar = INVARIANTS | OUR_INVARIANTS

    def __init__(self, connection: psycopg.Connection) -> None:
        prepare(connection)
        self.connection = connection
        self.clock = Clock(connection)
        self.slug = ""
        connection.execute(_REALTIME)
        connection.execute(_ORDERLY_IDS)

    def await_settled_server(self) -> None:
        """For one lease after the server's start nothing lapses."""
        young = "select now() - pg_postmaster_start_time() < make_interval(secs => %s)"
        eventually(lambda: not self._one(young, SHORT_LEASE + 1))

    def run(self, call: Call[Any]) -> Any:
        return call.decode(self.connection.execute(call.sql, call.args).fetchall())

    @contextmanager
    def _one_transaction(self) -> Iterator[None]:
        with self.connection.transaction():
            self._beat()
            yield

    def _beat(self) -> None:
        """Every worker that is not gone goes on beating: no outage, whatever the clock was put to, and however long
        the machine is busy with something else."""
        self.connection.execute(
            "update pgflow.workers set last_heartbeat_at = now() + interval '1 minute' "
            "where last_heartbeat_at > now() - interval '1 day'"
        )

    # -- flows and workers

    def create_flow(self, slug: str, shape: dict[str, Any]) -> None:
        self.slug = slug
        assert self.run(calls.ensure_flow_compiled(slug, shape))[0] == "compiled"

    def clear(self) -> None:
        if self.slug:
            self.connection.execute("select pgflow.delete_flow_and_data(%s)", [self.slug])
            self.connection.execute("truncate pgflow.workers, realtime.sent")
            self.connection.execute("alter sequence realtime.ids restart")
            self.connection.execute("update pgflow.outage set grace_until = '-infinity'")
            self.slug = ""

    def add_worker(self, worker_id: UUID) -> None:
        self.run(calls.register_worker(worker_id, self.slug, "model", lease=SHORT_LEASE))
        self._beat()

    def lose_worker(self, worker_id: UUID) -> None:
        self.connection.execute("update pgflow.workers set stopped_at = now() where worker_id = %s", [worker_id])

    # -- time

    def advance_time(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # -- operations

    def start_flow(self, input: bytes, run_id: UUID) -> None:
        self._one("select pgflow.start_flow(%s, %s::jsonb, %s)", self.slug, input.decode(), run_id)

    def force_skip(self, run_id: UUID, step_slug: str, reason: str) -> int:
        sql = "select pgflow._cascade_force_skip_steps(%s, %s, %s)"
        return int(self._one(sql, run_id, step_slug, reason))

    def maybe_complete_run(self, run_id: UUID) -> None:
        self._one("select pgflow.maybe_complete_run(%s)", run_id)

    def cancel_run(self, run_id: UUID, reason: str | None) -> Run | None:
        return self._attempt(calls.cancel_run(run_id, reason))

    def retry_run(self, run_id: UUID) -> Run | None:
        return self._attempt(calls.retry_run(run_id))

    def rerun(self, run_id: UUID, from_step: str, input: bytes | None) -> Run | None:
        return self._attempt(calls.rerun(run_id, from_step, input))

    def _attempt(self, call: Call[Run]) -> Run | None:
        """None where it is refused."""
        try:
            return cast("Run", self.run(call))
        except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.RaiseException):
            return None

    def pause_flow(self) -> None:
        self.run(calls.pause_flow(self.slug))

    def resume_flow(self) -> None:
        self.run(calls.resume_flow(self.slug))

    def start_tasks(self, tasks: Collection[TaskId], worker_id: UUID) -> list[dict[str, Any]]:
        return [
            {"task": (row[0], row[1], row[2]), "input": canonical(row[3]), "flow_input": canonical(row[4])}
            for row in self.connection.execute(
                "select run_id, step_slug, task_index, input, flow_input from pgflow.start_tasks(%s, %s::bigint[], %s)",
                [self.slug, [self._message_id(t) for t in tasks], worker_id],
            ).fetchall()
        ]

    def complete_task(self, task: TaskId, output: bytes | None) -> None:
        text = None if output is None else output.decode()
        self._one("select pgflow.complete_task(%s, %s, %s, %s::jsonb)", *task, text)

    def fail_task(self, task: TaskId, error: str) -> None:
        self._one("select pgflow.fail_task(%s, %s, %s, %s)", *task, error)

    def requeue_stalled_tasks(self) -> int:
        return int(self.run(calls.requeue_stalled_tasks()))

    def fail_stalled_tasks(self) -> int:
        return int(self._one("select pgflow.fail_stalled_tasks()"))

    def poll(self, worker_id: UUID, qty: int) -> list[Task]:
        with self._one_transaction():
            polled = self.run(calls.poll_tasks([self.slug], worker_id, qty=qty, lease=SHORT_LEASE))
            return self._leased(polled.tasks)

    def _leased(self, tasks: Iterable[Task]) -> list[Task]:
        for task in tasks:
            self.connection.execute(
                "update pgflow.step_tasks set leased_until = started_at + make_interval(secs => %s) "
                "where (run_id, step_slug, task_index) = (%s, %s, %s)",
                [LEASE, task.run_id, task.step_slug, task.task_index],
            )
            self._show(task.msg_id, LEASE)
        return list(tasks)

    def settle(self, worker_id: UUID, outcomes: Sequence[Outcome]) -> list[Verdict]:
        return list(self.run(calls.settle_tasks(worker_id, outcomes)))

    def settle_and_hand_over(
        self, worker_id: UUID, outcomes: Sequence[Outcome], qty: int
    ) -> tuple[list[Verdict], list[Task]]:
        with self._one_transaction():
            call = calls.settle_and_poll(
                worker_id, outcomes, [self.slug], qty=qty, lease=SHORT_LEASE, only_follow_ups=True
            )
            verdicts, polled = self.run(call)
            return verdicts, self._leased(polled.tasks)

    def extend(self, worker_id: UUID, held: Sequence[TaskKey]) -> list[TaskKey]:
        with self._one_transaction():
            lost: list[TaskKey] = self.run(calls.extend_leases(worker_id, held, lease=LEASE))
            self.connection.execute("update pgflow.workers set lease = %s", [SHORT_LEASE])
        return lost

    def grant_grace(self, seconds: int) -> None:
        """As if an outage had just been noticed."""
        self.connection.execute("update pgflow.outage set grace_until = now() + make_interval(secs => %s)", [seconds])

    def deliver_again(self, task: TaskId) -> None:
        """A second message for a task, as some foreign hand might send it."""
        content = {"flow_slug": self.slug, "run_id": str(task[0]), "step_slug": task[1], "task_index": task[2]}
        self._one("select * from pgmq.send(%s, %s::jsonb)", self.slug, json.dumps(content))

    def lapse(self, task: TaskId) -> None:
        """The lease of a task ends now, and its message can be read."""
        self.connection.execute(
            "update pgflow.step_tasks set leased_until = now() - interval '1 s' "
            "where (run_id, step_slug, task_index) = (%s, %s, %s)", task,
        )  # fmt: skip
        self._show(self._message_id(task), 0)

    def show(self, task: TaskId) -> None:
        """The message of a task can be read now, whoever has it."""
        self._show(self._message_id(task), 0)

    def show_lapsed(self) -> None:
        """Brings up the messages of all lapsed leases, which a poll would otherwise find in its own good time."""
        self.connection.execute(
            f"update pgmq.q_{self.slug} m set vt = clock_timestamp() - interval '1 s' from pgflow.step_tasks t "
            "where t.message_id = m.msg_id and t.status = 'started' and t.leased_until < now()"
        )

    def _message_id(self, task: TaskId) -> int:
        found = self._one(
            "select message_id from pgflow.step_tasks where (run_id, step_slug, task_index) = (%s, %s, %s)", *task
        )
        return int(found)

    def _show(self, msg_id: int, delay: float) -> None:
        self.connection.execute(
            f"update pgmq.q_{self.slug} set vt = clock_timestamp() + make_interval(secs => %s) where msg_id = %s",
            [delay, msg_id],
        )

    def _one(self, sql: str, *args: Any) -> Any:
        row = self.connection.execute(sql, args).fetchone()
        assert row is not None
        return row[0]

    def given_up(self) -> set[TaskId]:
        sql = "select run_id, step_slug, task_index from pgflow.step_tasks where permanently_stalled_at is not null"
        return set(self.connection.execute(sql).fetchall())

    def strays(self) -> int:
        """How many messages no task owns."""
        return int(self._one(f"select {_STRAYS.format(slug=self.slug)}"))

    # -- what to compare

    def snapshot(self) -> dict[str, Any]:
        """As pgflow.testing.model.snapshot; with `events`, those since the last snapshot."""
        raw = self._one(_SNAPSHOT.format(slug=self.slug, strays=_STRAYS.format(slug=self.slug)))
        return self._plain(json.loads(raw))

    def _plain(self, found: dict[str, Any]) -> dict[str, Any]:
        self.connection.execute("truncate realtime.sent" if len(found["events"]) > 500 else "delete from realtime.sent")
        found["events"] = [plain_event(event) for event in found["events"]]
        for rows in (found["runs"], found["steps"], found["tasks"]):
            for row in rows.values():
                row.update({k: canonical(row[k]) for k in ("input", "output") if k in row})
        for row in found["tasks"].values():
            if row["due"] is not None:
                row["due"] = float(round(row["due"] / QUANTUM) * QUANTUM)
        return found

    def broken_invariants(self) -> list[str]:
        checks = ", ".join(f"({sql.format(slug=self.slug)})" for sql in self.invariants.values())
        counts = self.connection.execute(f"select {checks}").fetchone()
        assert counts is not None
        return [what for what, count in zip(self.invariants, counts, strict=True) if count]


def plain_event(event: dict[str, Any]) -> dict[str, Any]:
    """Without times, but with the names of those it carries."""
    return {k: "*" if k.endswith("_at") and v is not None else v for k, v in event.items()}
