"""What Python asks of pgflow's own (TypeScript) core: its single-task functions, in whatever version is installed.

    features = await database.run(look())                # which of them this version has
    messages = await database.run(read(["email_campaign"], qty=10))

Calls as in `pgflow.calls`. Nothing here is set-based nor fenced: that core has one function call per task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from pgflow.calls import Call, Rows, keys_json
from pgflow.records import Outcome, Task, TaskKey

#: What a worker cannot do without: functions, and attributes of step_task_record. All there since 0.8.
_NEEDED = ("start_tasks", "complete_task", "fail_task", "set_vt_batch", "task_index")


@dataclass(frozen=True, slots=True)
class Features:
    """What the installed version has; `missing` names what a worker needs and does not find."""

    missing: tuple[str, ...]
    has_flow_input: bool
    has_requeue: bool
    has_stop: bool


def look() -> Call[Features]:
    """-> what the catalogs say of the core."""
    return Call(
        """select array(select distinct proname::text from pg_proc where pronamespace = 'pgflow'::regnamespace),
                  array(select attname::text from pg_attribute
                         where attrelid = to_regclass('pgflow.step_task_record') and not attisdropped)""",
        (),
        _decode_features,
    )


def _decode_features(rows: Rows) -> Features:
    functions, attributes = rows[0]
    return Features(
        missing=tuple(name for name in _NEEDED if name not in functions and name not in attributes),
        has_flow_input="flow_input" in attributes,
        has_requeue="requeue_stalled_tasks" in functions,
        has_stop="mark_worker_stopped" in functions,
    )


# ---------------------------------------------------------------------------------------- flows


def stored_steps(flow_slug: str) -> Call[dict[str, tuple[str, list[str]]] | None]:
    """-> the type and the dependencies of each step of a flow; None for an unknown flow."""
    return Call(
        """select s.step_slug, s.step_type,
                  array(select d.dep_slug from pgflow.deps d
                         where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug)
             from pgflow.flows f left join pgflow.steps s using (flow_slug)
            where f.flow_slug = %s""",
        (flow_slug,),
        lambda rows: {slug: (kind, deps) for slug, kind, deps in rows if slug is not None} if rows else None,
    )


def create_flow(statements: str) -> Call[None]:
    """Stores a flow by its `create_flow` and `add_step` statements: all of them, or none."""
    # without arguments they go out as one simple query, which is one transaction
    return Call(statements.replace("%", "%%"), (), lambda rows: None)


# ---------------------------------------------------------------------------------------- work


class Message(NamedTuple):
    """A message that was read: where it came from, and its number."""

    flow_slug: str
    msg_id: int


def read(flow_slugs: Sequence[str], *, qty: int) -> Call[list[Message]]:
    """-> up to `qty` messages of each of these queues, hidden for their flow's timeout + 2 s."""
    return Call(
        "select f.flow_slug, m.msg_id from pgflow.flows f "
        "cross join lateral pgmq.read(f.flow_slug, f.opt_timeout + 2, %s::int) m where f.flow_slug = any(%s::text[])",
        (qty, list(flow_slugs)),
        lambda rows: [Message(*row) for row in rows],
    )


def start_tasks(
    flow_slug: str, msg_ids: Sequence[int], worker_id: UUID, *, has_flow_input: bool
) -> Call[tuple[Task, ...]]:
    """-> the tasks of these messages that could be started.

    Their fence is the number of the attempt, which nobody checks but the guards below. A run's input stands under the
    key `run` of single steps' inputs in versions that do not hand it out as flow_input.
    """
    single = "s.step_type = 'single'"
    given = (
        "r.input, r.flow_input"
        if has_flow_input
        else f"case when {single} then r.input - 'run' else r.input end, case when {single} then r.input -> 'run' end"
    )
    # what start_tasks changes, the statement that calls it does not see: attempts_count is the one before
    return Call(
        f"""select r.flow_slug, r.run_id, r.step_slug, r.task_index, r.msg_id, {given}, t.attempts_count + 1,
                   t.attempts_count + 1, greatest(coalesce(s.opt_max_attempts, f.opt_max_attempts), 1),
                   coalesce(s.opt_timeout, f.opt_timeout), coalesce(s.opt_base_delay, f.opt_base_delay)
              from pgflow.start_tasks(%s::text, %s::bigint[], %s::uuid) r
              join pgflow.step_tasks t
                on t.run_id = r.run_id and t.step_slug = r.step_slug and t.task_index = r.task_index
              join pgflow.steps s on s.flow_slug = r.flow_slug and s.step_slug = r.step_slug
              join pgflow.flows f on f.flow_slug = r.flow_slug""",
        (flow_slug, list(msg_ids), worker_id),
        lambda rows: tuple(Task(*row) for row in rows),
    )


def started_tasks(flow_slug: str, msg_ids: Sequence[int], worker_id: UUID) -> Call[list[TaskKey]]:
    """-> which tasks of these messages this worker has started."""
    return Call(
        "select run_id, step_slug, task_index, attempts_count from pgflow.step_tasks "
        "where flow_slug = %s and message_id = any(%s::bigint[]) and status = 'started' and last_worker_id = %s",
        (flow_slug, list(msg_ids), worker_id),
        lambda rows: [TaskKey(*row) for row in rows],
    )


class Answer(NamedTuple):
    """What came of a call for a task: whether it was still the worker's before, and what it is now.

    `status` is None where the function returned no row, as 0.8 does for a type violation.
    """

    was_held: bool
    status: str | None
    message: Message | None


#: The task, if it is still this worker's. The core does not ask, and believes whoever calls: what is taken away between
#: this look and the call's locks goes unnoticed.
_HELD = """
  from (select t.run_id, t.step_slug, t.task_index
          from pgflow.step_tasks t
          join pgflow.steps s on s.flow_slug = t.flow_slug and s.step_slug = t.step_slug
          join pgflow.flows f on f.flow_slug = t.flow_slug
         where t.run_id = %s and t.step_slug = %s and t.task_index = %s
           and t.status = 'started' and t.last_worker_id = %s {condition}) held
"""
_SAME_ATTEMPT = "and t.attempts_count = %s"
_THIS_ATTEMPT_OR_LATER = "and t.attempts_count >= %s"
_ATTEMPTS_LEFT = _SAME_ATTEMPT + " and t.attempts_count < coalesce(s.opt_max_attempts, f.opt_max_attempts)"


def complete_task(outcome: Outcome, worker_id: UUID) -> Call[Answer]:
    """Stores the output of a task that is still the worker's."""
    output = None if outcome.output is None else outcome.output.decode()
    return _settle("complete_task", "%s::jsonb", output, outcome.key, worker_id, _SAME_ATTEMPT)


def fail_task(key: TaskKey, worker_id: UUID, error: str, *, or_later: bool = False) -> Call[Answer]:
    """Fails a task that is still the worker's, in this attempt; or in a later one of its own, too."""
    condition = _THIS_ATTEMPT_OR_LATER if or_later else _SAME_ATTEMPT
    return _settle("fail_task", "%s::text", error, key, worker_id, condition)


def give_up_attempt(key: TaskKey, worker_id: UUID, error: str) -> Call[Answer]:
    """Fails a task that is still the worker's unless that were the end of it."""
    return _settle("fail_task", "%s::text", error, key, worker_id, _ATTEMPTS_LEFT)


def _settle(
    function: str, placeholder: str, value: str | None, key: TaskKey, worker_id: UUID, condition: str
) -> Call[Answer]:
    return Call(
        f"""select done.status, done.flow_slug, done.message_id {_HELD.format(condition=condition)}
              left join lateral pgflow.{function}(held.run_id, held.step_slug, held.task_index, {placeholder}) done
                on true""",
        (key.run_id, key.step_slug, key.task_index, worker_id, key.fence, value),
        _decode_answer,
    )


def _decode_answer(rows: Rows) -> Answer:
    if not rows:
        return Answer(False, None, None)
    status, flow_slug, msg_id = rows[0]
    return Answer(True, status, None if msg_id is None else Message(flow_slug, msg_id))


def show_in(message: Message, seconds: int) -> Call[None]:
    """Makes a message visible in so many seconds."""
    return Call(
        "select from pgflow.set_vt_batch(%s::text, array[%s]::bigint[], array[%s]::int[])",
        (message.flow_slug, message.msg_id, seconds),
        lambda rows: None,
    )


# ---------------------------------------------------------------------------------------- workers


def beat(worker_id: UUID, queue_name: str, function_name: str, held: Iterable[TaskKey]) -> Call[list[TaskKey]]:
    """Announces the worker, or keeps its row fresh -> those of its tasks that are no longer its own."""
    return Call(
        """with beaten as (
             insert into pgflow.workers (worker_id, queue_name, function_name) values (%s::uuid, %s, %s)
             on conflict (worker_id) do update set last_heartbeat_at = now()
           )
           select h.run_id, h.step_slug, h.task_index, h.fence
             from jsonb_to_recordset(%s::jsonb) as h (run_id uuid, step_slug text, task_index int, fence int)
            where not exists (
              select from pgflow.step_tasks t
                join pgflow.step_states s on s.run_id = t.run_id and s.step_slug = t.step_slug
                join pgflow.runs r on r.run_id = t.run_id
               where t.run_id = h.run_id and t.step_slug = h.step_slug and t.task_index = h.task_index
                 and t.status = 'started' and t.last_worker_id = %s::uuid and t.attempts_count = h.fence
                 and s.status = 'started' and r.status = 'started')""",
        (worker_id, queue_name, function_name, keys_json(held), worker_id),
        lambda rows: [TaskKey(*row) for row in rows],
    )
