"""What `pgflow doctor` and the dashboard ask of the database: catalogs, statistics, who works, what waits or is stuck.

    lacking = await database.run(missing_rights())      # ['select on table pgflow.runs', …]

The first ones read only PostgreSQL's own catalogs, so that they answer whatever state the schema is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgflow.calls import Call


@dataclass(frozen=True, slots=True)
class Server:
    """The database, as it describes itself."""

    version: str
    version_number: int
    role: str
    pgmq: str | None
    now: datetime
    oldest_transaction: timedelta | None


@dataclass(frozen=True, slots=True)
class Queue:
    """A flow and its queue: messages that wait now, for how long the first of them has, and those that come up later;
    and when the flow was paused."""

    flow_slug: str
    ready: int
    waited: timedelta | None
    later: int
    paused_at: datetime | None


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker with a fresh heartbeat: its machine and process (`name`, of ours), and the flows that it serves."""

    name: str
    flows: list[str]
    started_at: datetime
    heard_at: datetime


@dataclass(frozen=True, slots=True)
class Bloat:
    """A table with more dead rows than autovacuum should leave."""

    table: str
    live: int
    dead: int
    vacuumed_at: datetime | None


def server() -> Call[Server]:
    """-> what the database is, its time, and how long the oldest transaction in it has been open."""
    return Call(
        """select current_setting('server_version'), current_setting('server_version_num')::int, current_user::text,
                  case when exists (select from pg_namespace where nspname = 'pgmq') then coalesce(
                    (select extversion from pg_extension where extname = 'pgmq'), 'without the extension') end,
                  clock_timestamp(),
                  (select now() - min(xact_start) from pg_stat_activity
                    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid())
        """,
        (),
        lambda rows: Server(*rows[0]),
    )


def lacks_role() -> Call[bool | None]:
    """-> whether the database has the roles of `pgflow migrate --roles`, and this one may do nothing through them;
    None where it has not: then the rights on each table and function count."""
    return Call(
        """select case when bool_or(p.prosecdef) then not bool_or(
                    has_schema_privilege(p.pronamespace, 'usage') and has_function_privilege(p.oid, 'execute')) end
             from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = 'pgflow' and p.proname in ('poll_tasks', 'start_flows')""",
        (),
        lambda rows: rows[0][0],
    )


def missing_rights() -> Call[list[str]]:
    """-> what this role lacks of what clients and workers do, in the words of `grant`, but for the role."""
    return Call(
        """select w.lacking from (
           select 'usage on schema ' || quote_ident(nspname) from pg_namespace
            where nspname in ('pgflow', 'pgmq') and not has_schema_privilege(oid, 'usage')
           union all
           select w.privilege || ' on table ' || c.oid::regclass
             from pg_class c
             join pg_namespace n on n.oid = c.relnamespace
            cross join unnest(array['select', 'insert', 'update', 'delete']) as w(privilege)
            where c.relkind in ('r', 'p') and not has_table_privilege(c.oid, w.privilege)
              and (n.nspname = 'pgflow' and c.relname not like 'schema\\_%%'
                   or n.nspname = 'pgmq' and c.relname ~ '^[qa]_')
           union all
           select 'select on table ' || c.oid::regclass
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'pgflow' and c.relname like 'schema\\_%%' and c.relkind = 'r'
              and not has_table_privilege(c.oid, 'select')
           union all
           select 'execute on function ' || p.oid::regprocedure
             from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in ('pgflow', 'pgmq') and p.prokind = 'f' and not has_function_privilege(p.oid, 'execute')
           ) w(lacking) order by w.lacking not like 'usage%%', w.lacking""",
        (),
        _first_column,
    )


def unserved_flows() -> Call[list[tuple[str, int]]]:
    """-> (flow, number of runs under way) where no live worker serves the flow; but for paused ones."""
    return Call(
        """select r.flow_slug, count(*)
             from (select distinct ss.flow_slug, ss.run_id from pgflow.step_states ss where ss.status = 'started') r
             join pgflow.flows f on f.flow_slug = r.flow_slug and f.paused_at is null
            where not exists (
                    select from pgflow.workers w
                     where w.stopped_at is null and r.flow_slug = any (string_to_array(w.queue_name, ','))
                       and w.last_heartbeat_at > now() - make_interval(secs => coalesce(w.lease, 30)))
            group by r.flow_slug order by r.flow_slug""",
        (),
        lambda rows: [(slug, count) for slug, count in rows],
    )


def live_workers() -> Call[list[LiveWorker]]:
    """-> the workers that live, the oldest first."""
    return Call(
        """select w.function_name, string_to_array(w.queue_name, ','), w.started_at, w.last_heartbeat_at
             from pgflow.workers w
            where w.stopped_at is null
              and w.last_heartbeat_at > clock_timestamp() - make_interval(secs => coalesce(w.lease, 30))
            order by w.started_at, w.worker_id""",
        (),
        lambda rows: [LiveWorker(*row) for row in rows],
    )


def stalled_tasks() -> Call[list[tuple[str, str, int]]]:
    """-> (flow, step, number of tasks) whose worker is gone, or that were given up after too many stalls."""
    return Call(
        """select t.flow_slug, t.step_slug, count(*)
             from pgflow.step_states ss
             join pgflow.runs r on r.run_id = ss.run_id and r.status = 'started'
             join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
            where ss.status = 'started' and t.status = 'started'
              and (t.permanently_stalled_at is not null or t.leased_until < now() - interval '1 min')
            group by 1, 2 order by 1, 2""",
        (),
        lambda rows: [(flow, step, count) for flow, step, count in rows],
    )


def queues() -> Call[list[Queue]]:
    """-> the queues of all flows."""
    return Call(
        """select q.flow_slug, q.ready, q.waited, q.later, f.paused_at
             from pgflow.queue_depths() q join pgflow.flows f on f.flow_slug = q.flow_slug order by q.flow_slug""",
        (),
        lambda rows: [Queue(*row) for row in rows],
    )


def bloat(least: int) -> Call[list[Bloat]]:
    """-> tables of ours with at least so many dead rows, and more than live ones."""
    return Call(
        """select s.relid::regclass::text, s.n_live_tup, s.n_dead_tup, greatest(s.last_vacuum, s.last_autovacuum)
             from pg_stat_user_tables s
            where s.schemaname in ('pgflow', 'pgmq') and s.n_dead_tup >= greatest(%s, s.n_live_tup)
            order by s.n_dead_tup desc""",
        (least,),
        lambda rows: [Bloat(*row) for row in rows],
    )


def _first_column(rows: Any) -> list[str]:
    return [row[0] for row in rows]
