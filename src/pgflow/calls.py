"""Everything Python asks of our SQL core: one pure function per SQL function, each returning a Call.

    call = poll_tasks(["email_campaign"], worker_id, qty=10, lease=15)
    polled = await database.run(call)        # a Polled

JSON columns arrive as raw bytes (see `pgflow.db`), so that each value is decoded once, by whoever knows its type.
What may run on a caller's own connection returns nothing but texts and booleans, which mean the same in every driver.
What is asked of pgflow's own core, where that is installed, stands in `pgflow.calls_foreign`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from pgflow.flow import codec
from pgflow.flow.cron import first_slot
from pgflow.flow.schedule import Schedule as Declared
from pgflow.records import (
    DueSchedule,
    FailedTask,
    Outcome,
    Polled,
    Progress,
    Pruned,
    Retries,
    Run,
    Schedule,
    StepState,
    StoredFlow,
    Task,
    TaskKey,
    Verdict,
)

T = TypeVar("T")
Rows: TypeAlias = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One statement, its arguments, and how its rows become a value."""

    sql: str
    args: tuple[Any, ...]
    decode: Callable[[Rows], T]


# ---------------------------------------------------------------------------------------- flows


def ensure_flow_compiled(
    flow_slug: str, shape: dict[str, Any], *, allow_data_loss: bool = False
) -> Call[tuple[str, list[str]]]:
    """-> (status, differences); the status is 'compiled', 'verified', 'recompiled' or 'mismatch'."""
    return Call(
        "select pgflow.ensure_flow_compiled(%s::text, %s::text::jsonb, %s::boolean)::text",
        (flow_slug, json.dumps(shape), allow_data_loss),
        _decode_compiled,
    )


def _decode_compiled(rows: Rows) -> tuple[str, list[str]]:
    answer = json.loads(rows[0][0])
    return answer["status"], answer["differences"]


def list_flows() -> Call[list[StoredFlow]]:
    """-> all flows by slug, with what goes on in them."""
    return Call("select * from pgflow.list_flows()", (), lambda rows: [StoredFlow(*row) for row in rows])


def store_dynamic_flow(
    flow_slug: str, shape: dict[str, Any], *, allow_data_loss: bool = False
) -> Call[tuple[str, list[str]]]:
    """As `ensure_flow_compiled`, for a flow that is data; the status may also be 'updated' (its options were)."""
    return Call(
        "select pgflow.store_dynamic_flow(%s::text, %s::jsonb, %s::boolean)",
        (flow_slug, json.dumps(shape), allow_data_loss),
        _decode_compiled,
    )


def create_dynamic_flow(flow_slug: str, options: dict[str, Any]) -> Call[None]:
    """Stores a flow without steps; options are those of a shape."""
    return Call(
        "select from pgflow.create_dynamic_flow(%s::text, %s::jsonb)", (flow_slug, json.dumps(options)), _nothing
    )


def add_dynamic_step(flow_slug: str, step: dict[str, Any]) -> Call[None]:
    """Adds a step, as it stands in a shape, to a flow that is data."""
    return Call("select from pgflow.add_dynamic_step(%s::text, %s::jsonb)", (flow_slug, json.dumps(step)), _nothing)


def flow_definition(flow_slug: str) -> Call[dict[str, Any] | None]:
    """-> the stored flow as a shape with its options; None for an unknown one."""
    return Call("select pgflow.flow_definition(%s::text)", (flow_slug,), lambda rows: _json(rows[0][0]))


def dynamic_flows() -> Call[dict[str, datetime]]:
    """-> the flows that are data, and when each was last changed."""
    return Call("select flow_slug, dynamic_at from pgflow.flows where dynamic_at is not null", (), dict)


def flow_definitions(flow_slugs: Sequence[str]) -> Call[dict[str, tuple[datetime, dict[str, Any]]]]:
    """-> per flow when it was last changed, and what `flow_definition` says; those that are gone are missing."""
    return Call(
        "select flow_slug, dynamic_at, pgflow.flow_definition(flow_slug) from pgflow.flows "
        "where flow_slug = any(%s::text[]) and dynamic_at is not null",
        (list(flow_slugs),),
        lambda rows: {slug: (at, _json(definition)) for slug, at, definition in rows},
    )


def delete_flow(flow_slug: str) -> Call[bool]:
    """Deletes a flow with its queue, runs and history -> whether it was there."""
    return Call(
        "select pgflow.delete_flow_and_data(flow_slug) from pgflow.flows where flow_slug = %s", (flow_slug,), bool
    )


def prunable_dynamic_flows(older_than: timedelta) -> Call[list[str]]:
    """-> the slugs of the flows that `prune_dynamic_flows` would delete."""
    return Call("select * from pgflow.prunable_dynamic_flows(%s::interval)", (older_than,), _first_column)


def prune_dynamic_flows(older_than: timedelta) -> Call[list[str]]:
    """Deletes flows that are data and unused -> their slugs."""
    return Call("select * from pgflow.prune_dynamic_flows(%s::interval)", (older_than,), _first_column)


def flow_exists(flow_slug: str) -> Call[bool]:
    """-> whether there is a flow of this slug."""
    return Call("select exists (select from pgflow.flows where flow_slug = %s::text)", (flow_slug,), _one_value)


def flow_differences(flow_slug: str, shape: dict[str, Any]) -> Call[list[str] | None]:
    """-> how the stored flow differs from this shape; None if there is none of this slug. Changes and locks nothing."""
    return Call(
        "select to_jsonb(pgflow._compare_flow_shapes(%s::text::jsonb, pgflow._get_flow_shape(flow_slug)))::text "
        "from pgflow.flows where flow_slug = %s::text",
        (json.dumps(shape), flow_slug),
        lambda rows: json.loads(rows[0][0]) if rows else None,
    )


def unfinished_runs(flow_slug: str) -> Call[bool]:
    """-> whether the flow has a run that has not ended: then steps of it are under way."""
    return Call("select exists (select from pgflow._open_steps where flow_slug = %s)", (flow_slug,), _one_value)


# ---------------------------------------------------------------------------------------- runs

#: A run as one JSON array.
_RUN = (
    "json_build_array(r.run_id, r.flow_slug, case when r.cancelled_at is null then r.status else 'cancelled' end, "
    "r.input, r.output, r.error_message, r.remaining_steps, r.started_at, r.completed_at, r.failed_at, "
    "r.parent_run_id, r.idempotency_key)::text"
)
#: Without its values, which may be large.
_BARE_RUN = _RUN.replace("r.input, r.output", "null, null")


def start_flows(
    flow_slug: str,
    inputs: Sequence[bytes],
    *,
    run_ids: Sequence[UUID] | None = None,
    keys: Sequence[str | None] | None = None,
    start_at: datetime | None = None,
    delay: float | None = None,
) -> Call[list[Run]]:
    """-> the runs, in the order of the inputs (each one JSON text), with no step states.

    No task is started before `start_at`, or for `delay` seconds by the database's clock.
    """
    return Call(
        f"select {_RUN} from pgflow.start_flows(%s::text, %s::text[]::jsonb[], %s::uuid[], %s::text[], "
        "coalesce(%s::timestamptz, clock_timestamp() + make_interval(secs => %s::float8))) as r",
        (
            flow_slug,
            [i.decode() for i in inputs],
            None if run_ids is None else list(run_ids),
            None if keys is None else list(keys),
            start_at,
            delay,
        ),
        _runs,
    )


def get_run(run_id: UUID) -> Call[Run | None]:
    """-> a snapshot with all its step states and the task that failed it; None for an unknown run."""
    return Call(
        f"""select {_RUN},
              (select json_agg(ss order by s.step_index)::text
                 from pgflow.step_states ss
                 join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
                where ss.run_id = r.run_id),
              (select jsonb_build_array(t.step_slug, t.task_index, t.attempts_count, t.error_message)
                 from pgflow.step_states ss
                 join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
                where r.status = 'failed' and ss.run_id = r.run_id and ss.status = 'failed' and t.status = 'failed'
                order by t.failed_at, t.step_slug, t.task_index
                limit 1)
            from pgflow.runs r
           where r.run_id = %s""",
        (run_id,),
        lambda rows: _snapshot(*rows[0]) if rows else None,
    )


_NEWEST_FIRST = "order by r.started_at desc, r.run_id desc"
#: What is true of the runs of a status; what failed has an index without all others.
_HAS_STATUS: dict[str | None, str] = {
    None: "true",
    "completed": "r.status = 'completed'",
    "failed": "r.failed_at is not null and num_nonnulls(r.cancelled_at) = 0",
    "cancelled": "r.failed_at is not null and num_nonnulls(r.cancelled_at) = 1",
}


def list_runs(
    flow_slug: str | None, status: str | None, limit: int, before: Run | datetime | None, *, values: bool = True
) -> Call[list[Run]]:
    """-> the newest runs first, without step states; those that come after a run in this order, or before a time."""
    given: dict[str, tuple[Any, ...]] = {"true": ()}
    if flow_slug is not None:
        given["r.flow_slug = %s"] = (flow_slug,)
    if isinstance(before, Run):  # not by its time alone: runs that one transaction started share it
        given["(r.started_at, r.run_id) < (%s, %s)"] = (before.started_at, before.run_id)
    elif before is not None:
        given["r.started_at < %s"] = (before,)
    where, args = " and ".join(given), tuple(chain.from_iterable(given.values()))
    if status == "started":
        page, args = _page_of_open_runs(where), (*args, limit, *args)
    else:
        page = f"select r.* from pgflow.runs r where {where} and {_HAS_STATUS[status]} {_NEWEST_FIRST} limit %s"
    return Call(
        # sorted first: what a page does not show must not be put together either
        f"select {_RUN if values else _BARE_RUN} from ({page}) as r {_NEWEST_FIRST}",
        (*args, limit),
        _runs,
    )


def _page_of_open_runs(where: str) -> str:
    """-> SQL for the newest runs that go on. An index that knew of them would make each run dearer to complete.

    Mostly they are among the newest of all; if those do not fill the page, each has steps that are under way.
    """
    return f"""
      with newest as materialized (
        select r.run_id, r.started_at, r.status from pgflow.runs r where {where} {_NEWEST_FIRST} limit 200
      ),
      found as (
        select n.run_id, n.started_at from newest n where n.status = 'started'
        union all
        select r.run_id, r.started_at
          from (select distinct ss.run_id from pgflow.step_states ss where ss.status = 'started') under_way
         cross join lateral (
           select x.* from pgflow.runs x where x.run_id = under_way.run_id and x.status = 'started' offset 0
         ) r
         where (select count(*) from newest n where n.status = 'started') < %s and {where}
           and (r.started_at, r.run_id) < (select n.started_at, n.run_id from newest n order by 1, 2 limit 1)
      )
      select x.* from (select * from found r {_NEWEST_FIRST} limit %s) r join pgflow.runs x on x.run_id = r.run_id"""


def ended_runs(run_ids: Sequence[UUID]) -> Call[list[UUID]]:
    """-> which of these runs have ended, or are not there (any more)."""
    return Call(
        "select w.run_id from unnest(%s::uuid[]) as w(run_id) left join pgflow.runs r using (run_id) "
        "where r.status is distinct from 'started'",
        (list(run_ids),),
        _first_column,
    )


def load_inputs(run_ids: Sequence[UUID]) -> Call[dict[UUID, bytes]]:
    """-> the runs' inputs as JSON texts."""
    return Call("select run_id, input from pgflow.runs where run_id = any(%s::uuid[])", (list(run_ids),), dict)


# ---------------------------------------------------------------------------------------- pruning


def count_prunable(older_than: timedelta) -> Call[Pruned]:
    """-> what `prune_data_older_than` would delete."""
    return Call(
        "select runs, tasks, archived_messages, workers from pgflow.count_prunable(%s::interval)",
        (older_than,),
        lambda rows: Pruned(*rows[0]),
    )


def prune_data_older_than(older_than: timedelta) -> Call[None]:
    """Deletes runs that ended longer ago than this, archived messages, and workers not heard of since."""
    return Call("select from pgflow.prune_data_older_than(%s::interval)", (older_than,), _nothing)


# ---------------------------------------------------------------------------------------- watching


def watch(run_ids: Sequence[UUID], flow_slugs: Sequence[str], seconds: float) -> Call[None]:
    """What happens to these runs and flows is told on channel pgflow_events for so many seconds from now."""
    return Call(
        "select from pgflow.watch(%s::uuid[], %s::text[], %s::float8)",
        (list(run_ids), list(flow_slugs), seconds),
        _nothing,
    )


#: What `_snapshot` takes, but for all that may be large.
_BARE_COLUMNS = f"""{_BARE_RUN},
              (select json_agg(x order by s.step_index)::text
                 from pgflow.step_states ss
                 join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
                cross join lateral (
                  select ss.step_slug, ss.status, ss.initial_tasks, ss.remaining_tasks, ss.remaining_deps,
                         null as output, ss.error_message, ss.skip_reason, ss.created_at, ss.started_at,
                         ss.completed_at, ss.failed_at, ss.skipped_at) x
                where ss.run_id = r.run_id) as states,
              null::jsonb as failed_task"""


def snapshots(
    run_ids: Sequence[UUID], flow_slugs: Sequence[str] = (), since: datetime | None = None
) -> Call[tuple[datetime, list[Run]]]:
    """-> (a time that all runs which this look cannot see yet started after, snapshots without input and outputs):
    of these runs, and of these flows' runs that are under way or started at `since` or later, but for some seconds."""
    slugs = list(flow_slugs)
    return Call(
        f"""with wanted as (
              select unnest(%s::uuid[]) as run_id
               union select r.run_id from pgflow.runs r
                      where r.flow_slug = any(%s::text[]) and r.started_at >= coalesce(%s, now()) - interval '5 s'
               union select ss.run_id from pgflow.step_states ss
                      where ss.status = 'started' and ss.flow_slug = any(%s::text[])),
            horizon as (
              select greatest(now() - interval '10 min', least(now(), (
                select min(a.xact_start) from pg_stat_activity a
                 where %s::text[] <> '{{}}' and a.datname = current_database()))) as at),
            found as (
              select {_BARE_COLUMNS}
                from wanted join pgflow.runs r on r.run_id = wanted.run_id)
            select horizon.at, found.* from horizon left join found on true""",
        (list(run_ids), slugs, since, slugs, slugs),
        lambda rows: (rows[0][0], [_snapshot(*row[1:]) for row in rows if row[1] is not None]),
    )


def progress(run_id: UUID) -> Call[Progress | None]:
    """-> what there is to see of a run; None for an unknown one."""
    return Call(
        f"""select {_BARE_COLUMNS},
              (select jsonb_object_agg(s.step_slug, array(
                        select d.dep_slug from pgflow.deps d
                         where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug order by d.dep_slug))
                 from pgflow.steps s where s.flow_slug = r.flow_slug),
              (select jsonb_object_agg(x.step_slug, jsonb_build_array(x.tasks, x.attempt, x.error))
                 from (select t.step_slug, count(*) as tasks, max(t.attempts_count) as attempt,
                              (array_agg(t.error_message order by t.attempts_count desc, t.task_index))[1] as error
                         from pgflow.step_states ss
                         join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
                        where ss.run_id = r.run_id and ss.status = 'started' and ss.initial_tasks <= 10000
                          and t.status in ('queued', 'started') and t.error_message is not null
                        group by t.step_slug) x)
            from pgflow.runs r
           where r.run_id = %s""",
        (run_id,),
        lambda rows: _progress(rows[0]) if rows else None,
    )


def _progress(row: tuple[Any, ...]) -> Progress:
    *snapshot, dependencies, retries = row
    return Progress(
        _snapshot(*snapshot),
        _json(dependencies) or {},
        {slug: Retries(*found) for slug, found in (_json(retries) or {}).items()},
    )


# ---------------------------------------------------------------------------------------- run control


def cancel_run(run_id: UUID, reason: str | None = None) -> Call[Run]:
    """-> the run, cancelled now or before, with no step states."""
    return Call(
        f"select {_RUN} from pgflow.cancel_run(%s::uuid, %s::text) as r",
        (run_id, reason),
        _one_run,
    )


def retry_run(run_id: UUID) -> Call[Run]:
    """-> the run, going on, with no step states."""
    return Call(f"select {_RUN} from pgflow.retry_run(%s::uuid) as r", (run_id,), _one_run)


def rerun(run_id: UUID, from_step: str, input: bytes | None = None) -> Call[Run]:
    """-> the new run, with no step states; without an input (JSON text) it gets that of the given run."""
    return Call(
        f"select {_RUN} from pgflow.rerun(%s::uuid, %s::text, %s::jsonb) as r",
        (run_id, from_step, None if input is None else input.decode()),
        _one_run,
    )


def pause_flow(flow_slug: str) -> Call[None]:
    """No task of the flow is claimed from now on."""
    return Call("select from pgflow.pause_flow(%s::text)", (flow_slug,), _nothing)


def resume_flow(flow_slug: str) -> Call[None]:
    """Tasks of the flow are claimed again."""
    return Call("select from pgflow.resume_flow(%s::text)", (flow_slug,), _nothing)


# ---------------------------------------------------------------------------------------- schedules

_SCHEDULE = """json_build_array(s.schedule_name, s.flow_slug, s.cron, s.time_zone, s.input, s.catch_up, s.origin,
                    s.paused_at, nullif(s.next_at, '-infinity'), s.done_until, s.error_message, s.created_at,
                    x.slot, x.run_id)::text"""
_LAST_SLOT = """left join lateral (
       select y.slot, y.run_id from pgflow.schedule_slots y
        where y.schedule_name = s.schedule_name order by y.slot desc limit 1
     ) x on true"""


def add_schedule(name: str, flow_slug: str, cron: str, time_zone: str, input: bytes, catch_up: str) -> Call[Schedule]:
    """-> the new schedule; `input` is JSON text."""
    return Call(
        f"select {_SCHEDULE} from pgflow.add_schedule(%s::text, %s::text, %s::text, %s::text, %s::jsonb, %s::text) s "
        f"{_LAST_SLOT}",
        (name, flow_slug, cron, time_zone, input.decode(), catch_up),
        _one_schedule,
    )


def set_flow_schedules(flow_slug: str, schedules: Sequence[Declared]) -> Call[None]:
    """Makes these the only schedules of the flow that come from its code."""
    data = [
        {"name": s.name, "cron": s.cron, "time_zone": s.time_zone, "input": s.input, "catch_up": s.catch_up}
        for s in schedules
    ]
    return Call(
        "select from pgflow.set_flow_schedules(%s::text, %s::jsonb)", (flow_slug, codec.encode(data).decode()), _nothing
    )


def list_schedules(flow_slug: str | None = None) -> Call[list[Schedule]]:
    """-> all schedules, or those of a flow, by name."""
    return Call(
        f"select {_SCHEDULE} from pgflow.schedules s {_LAST_SLOT} "
        "where coalesce(s.flow_slug = %s::text, true) order by s.schedule_name",
        (flow_slug,),
        lambda rows: [_schedule(row[0]) for row in rows],
    )


def pause_schedule(name: str) -> Call[Schedule]:
    """-> the schedule; none of its slots is fired from now on."""
    return Call(f"select {_SCHEDULE} from pgflow.pause_schedule(%s::text) s {_LAST_SLOT}", (name,), _one_schedule)


def resume_schedule(name: str) -> Call[Schedule]:
    """-> the schedule; slots from now on are fired again."""
    return Call(f"select {_SCHEDULE} from pgflow.resume_schedule(%s::text) s {_LAST_SLOT}", (name,), _one_schedule)


def delete_schedule(name: str) -> Call[Schedule]:
    """-> what the schedule was."""
    return Call(f"select {_SCHEDULE} from pgflow.delete_schedule(%s::text) s {_LAST_SLOT}", (name,), _one_schedule)


def run_schedule(name: str) -> Call[Run]:
    """-> a run as the schedule would start it, with no step states."""
    return Call(f"select {_RUN} from pgflow.run_schedule(%s::text) as r", (name,), _one_run)


def due_schedules(within: float, *, now: datetime | None = None) -> Call[list[DueSchedule]]:
    """-> schedules that have a slot by now or within so many seconds, at most 100, the earliest first.

    `now` stands for the database's clock, in tests.
    """
    return Call(
        """select s.schedule_name, s.cron, s.time_zone, s.catch_up, s.done_until, n.now,
                  nullif(s.next_at, '-infinity')
             from (select coalesce(%s::timestamptz, clock_timestamp()) as now) n
             join pgflow.schedules s on s.next_at <= n.now + make_interval(secs => %s::float8)
            where s.paused_at is null
            order by s.next_at, s.schedule_name
            limit 100""",
        (now, within),
        lambda rows: [DueSchedule(*row) for row in rows],
    )


def fire_schedule(
    due: DueSchedule, slots: Sequence[datetime], next_at: datetime, *, error: str | None = None
) -> Call[list[Run]]:
    """-> the runs started for these slots; none if another worker was faster."""
    return Call(
        f"select {_RUN} from pgflow.fire_schedule(%s::text, %s::timestamptz, %s::timestamptz, %s::timestamptz[], "
        "%s::timestamptz, %s::text) as r",
        (due.name, due.done_until, max(due.now, due.done_until), list(slots), next_at, error),
        _runs,
    )


def _one_schedule(rows: Rows) -> Schedule:
    return _schedule(rows[0][0])


def _schedule(text: str) -> Schedule:
    values = json.loads(text)
    name, flow_slug, cron, zone, input_, catch_up, origin, paused, next_at, done, error, created, slot, run_id = values
    return Schedule(
        name=name,
        flow_slug=flow_slug,
        cron=cron,
        time_zone=zone,
        input=input_,
        catch_up=catch_up,
        origin=origin,
        created_at=datetime.fromisoformat(created),
        paused_at=_time(paused),
        next_at=None if paused else _time(next_at) or first_slot(cron, zone, datetime.fromisoformat(done)),
        last_slot=_time(slot),
        last_run_id=None if run_id is None else UUID(run_id),
        error=error,
    )


# ---------------------------------------------------------------------------------------- rows of runs


def _run(text: str, **more: Any) -> Run:
    values = json.loads(text)
    run_id, flow_slug, status, input_, output, error, remaining, started, completed, failed, parent, key = values
    return Run(
        run_id=UUID(run_id),
        flow_slug=flow_slug,
        status=status,
        input=input_,
        output=output,
        error=error,
        remaining_steps=remaining,
        started_at=datetime.fromisoformat(started),
        completed_at=_time(completed),
        failed_at=_time(failed),
        parent_run_id=None if parent is None else UUID(parent),
        key=key,
        **more,
    )


def _one_run(rows: Rows) -> Run:
    return _run(rows[0][0])


def _runs(rows: Rows) -> list[Run]:
    return [_run(row[0]) for row in rows]


def _snapshot(run: str, states: bytes | None, failed: bytes | None) -> Run:
    return _run(
        run,
        steps={s["step_slug"]: _step_state(s) for s in _json(states) or ()},
        failed_task=FailedTask(*_json(failed)) if failed is not None else None,
    )


def _step_state(row: dict[str, Any]) -> StepState:
    return StepState(
        step_slug=row["step_slug"],
        status=row["status"],
        initial_tasks=row["initial_tasks"],
        remaining_tasks=row["remaining_tasks"],
        remaining_deps=row["remaining_deps"],
        output=row["output"],
        error_message=row["error_message"],
        skip_reason=row["skip_reason"],
        created_at=datetime.fromisoformat(row["created_at"]),
        started_at=_time(row["started_at"]),
        completed_at=_time(row["completed_at"]),
        failed_at=_time(row["failed_at"]),
        skipped_at=_time(row["skipped_at"]),
    )


# ---------------------------------------------------------------------------------------- work


_TASK_COLUMNS = (
    "flow_slug, run_id, step_slug, task_index, msg_id, input, flow_input, fence, attempt, max_attempts, timeout, "
    "base_delay"
)


#: For workers whose handlers have names: what one needs to find them. The rows keep their order.
_HANDLER_COLUMNS = "handler, step_type"
_HANDLERS = "left join lateral pgflow.task_handler(p.flow_slug, p.step_slug) h on true"


def poll_tasks(
    flow_slugs: Sequence[str], worker_id: UUID, *, qty: int, lease: int, by_name: bool = False
) -> Call[Polled]:
    """-> up to `qty` tasks of these flows, claimed and started for `lease` seconds; with their handlers' names."""
    columns, handlers = _task_columns(by_name=by_name)
    return Call(
        f"select {columns}, next_visible_in "
        f"from pgflow.poll_tasks(%s::text[], %s::uuid, %s::int, %s::int) p {handlers}",
        (list(flow_slugs), worker_id, qty, lease),
        _decode_polled,
    )


def _task_columns(*, by_name: bool) -> tuple[str, str]:
    return (f"{_TASK_COLUMNS}, {_HANDLER_COLUMNS}", _HANDLERS) if by_name else (_TASK_COLUMNS, "")


def _decode_polled(rows: Rows) -> Polled:
    """The last row carries no task (its run_id is null) but the time of the next message."""
    *claimed, last = rows
    return Polled(tasks=tuple(Task(*row[:-1]) for row in claimed), next_visible_in=last[-1])


def settle_tasks(worker_id: UUID, outcomes: Sequence[Outcome]) -> Call[list[Verdict]]:
    """-> one verdict per outcome, in order."""
    return Call("select pgflow.settle_tasks(%s::uuid, %s::jsonb)", (worker_id, _outcomes_json(outcomes)), _one_value)


def mark_transaction() -> Call[None]:
    """The first statement of a task's own transaction: by the mark, `settle_within` knows it again."""
    return Call("select set_config('pgflow.transaction', 'open', true)", (), _nothing)


def settle_within(worker_id: UUID, outcome: Outcome) -> Call[Verdict | None]:
    """`settle_tasks` for one outcome, in a task's own transaction -> its verdict, None if that has ended already."""
    return Call(
        "select case when current_setting('pgflow.transaction', true) = 'open' "
        "then (pgflow.settle_tasks(%s::uuid, %s::jsonb))[1] end",
        (worker_id, _outcomes_json([outcome])),
        _one_value,
    )


def settle_and_poll(
    worker_id: UUID,
    outcomes: Sequence[Outcome],
    flow_slugs: Sequence[str],
    *,
    qty: int,
    lease: int,
    only_follow_ups: bool = False,
    by_name: bool = False,
) -> Call[tuple[list[Verdict], Polled]]:
    """-> what `settle_tasks` and then `poll_tasks` say, from one round trip; with `only_follow_ups` nothing is polled
    but what settling makes."""
    columns, handlers = _task_columns(by_name=by_name)
    return Call(
        f"select {columns}, next_visible_in, verdicts "
        f"from pgflow.settle_and_poll(%s::uuid, %s::jsonb, %s::text[], %s::int, %s::int, %s) p {handlers}",
        (worker_id, _outcomes_json(outcomes), list(flow_slugs), qty, lease, only_follow_ups),
        lambda rows: (rows[-1][-1], _decode_polled([row[:-1] for row in rows])),
    )


def _outcomes_json(outcomes: Sequence[Outcome]) -> str:
    return (b"[%b]" % b",".join(map(_outcome_json, outcomes))).decode()


def _outcome_json(outcome: Outcome) -> bytes:
    """The outcome as JSON; its output is JSON text already and is spliced in, and slugs need no escapes."""
    key = outcome.key
    head = (
        f'{{"run_id":"{key.run_id}","step_slug":"{key.step_slug}","task_index":{key.task_index},'
        f'"fence":{key.fence},"status":"{outcome.status}"'
    ).encode()
    if outcome.output is not None:
        return b'%b,"output":%b}' % (head, outcome.output)
    if outcome.status == "released":
        return head + b"}"
    how = {"error": outcome.error, "permanent": outcome.permanent, "retry_in": outcome.retry_in}
    return b"%b,%b" % (head, json.dumps(how)[1:].encode())


def extend_leases(worker_id: UUID, held: Iterable[TaskKey], *, lease: int) -> Call[list[TaskKey]]:
    """The worker's heartbeat and that of its tasks -> those of them that are no longer its own."""
    return Call(
        "select run_id, step_slug, task_index, fence from pgflow.extend_leases(%s::uuid, %s::jsonb, %s::int)",
        (worker_id, keys_json(held), lease),
        lambda rows: [TaskKey(*row) for row in rows],
    )


def keys_json(keys: Iterable[TaskKey]) -> str:
    """Keys of tasks as a JSON array of objects."""
    return json.dumps([key._asdict() | {"run_id": str(key.run_id)} for key in keys])


def register_worker(worker_id: UUID, queue_name: str, function_name: str, *, lease: int) -> Call[None]:
    """Announces a worker process; `extend_leases` keeps its row fresh."""
    return Call(
        "select pgflow.register_worker(%s::uuid, %s::text, %s::text, %s::int)",
        (worker_id, queue_name, function_name, lease),
        _nothing,
    )


def mark_worker_stopped(worker_id: UUID) -> Call[None]:
    """Says that the worker ended by itself, so that nobody waits for its leases."""
    return Call("select pgflow.mark_worker_stopped(%s::uuid)", (worker_id,), _nothing)


def notify(channel: str, payload: str) -> Call[bool]:
    """Tells whoever listens on this channel -> whether the database tells of its changes, too (`pgflow.notify`)."""
    return Call(
        "select current_setting('pgflow.notify', true) is distinct from 'off', pg_notify(%s::text, %s::text)",
        (channel, payload),
        lambda rows: bool(rows[0][0]),
    )


def requeue_stalled_tasks() -> Call[int]:
    """-> how many stalled tasks went back to their queues."""
    return Call("select pgflow.requeue_stalled_tasks()", (), _one_value)


def maintain() -> Call[list[UUID]]:
    """Does `fail_stalled_tasks` -> the workers of ours that fell silent a moment ago: what they hold may lapse soon."""
    return Call(
        """select array(select w.worker_id from pgflow.workers w
                         where w.stopped_at is null
                           and w.last_heartbeat_at < clock_timestamp() - make_interval(secs => w.lease / 2.0)
                           and w.last_heartbeat_at > clock_timestamp() - make_interval(secs => w.lease * 2 + 60))
             from pgflow.fail_stalled_tasks()""",
        (),
        _one_value,
    )


# ---------------------------------------------------------------------------------------- decoding


def _json(raw: bytes | None) -> Any:
    return None if raw is None else json.loads(raw)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _one_value(rows: Rows) -> Any:
    return rows[0][0]


def _first_column(rows: Rows) -> list[Any]:
    return [row[0] for row in rows]


def _nothing(rows: Rows) -> None:
    return None
