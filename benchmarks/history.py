"""Fills a database with finished tasks, as if workers had been busy for months: half in maps, half in short runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from peers.harness import Setup
from peers.ours import flows

from pgflow import Client

#: Elements of one map.
_MAP = 10_000
_TABLES = ("pgflow.runs", "pgflow.step_states", "pgflow.step_tasks", "pgmq.a_fan_out", "pgmq.a_chain3")

_MAPS = """
with run as (
  insert into pgflow.runs (flow_slug, status, input, output, started_at, completed_at)
  select 'fan_out', 'completed', to_jsonb(%(elements)s::int), jsonb_build_object('count', %(elements)s::int),
         now() - interval '1 day', now()
    from generate_series(1, %(runs)s)
  returning run_id, started_at
), outputs as (
  select 'element' as step_slug, jsonb_agg(i) as output from generate_series(0, %(elements)s - 1) as i
), states as (
  insert into pgflow.step_states (flow_slug, run_id, step_slug, status, remaining_tasks, initial_tasks, output,
                                  created_at, started_at, completed_at)
  select 'fan_out', run.run_id, s.step_slug, 'completed', 0,
         case when s.step_type = 'map' then %(elements)s else 1 end, outputs.output,
         run.started_at, run.started_at, now()
    from run, pgflow.steps s left join outputs using (step_slug) where s.flow_slug = 'fan_out'
)
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, status, attempts_count, input,
                               output, queued_at, started_at, completed_at, fence, settled_fence)
select 'fan_out', run.run_id, 'element', i, nextval('pgmq.q_fan_out_msg_id_seq'), 'completed', 1, to_jsonb(i),
       to_jsonb(i), run.started_at, run.started_at, now(), 1, 1
  from run, generate_series(0, %(elements)s - 1) as i
"""

_CHAINS = """
with run as (
  insert into pgflow.runs (flow_slug, status, input, output, started_at, completed_at)
  select 'chain3', 'completed', to_jsonb(i), jsonb_build_object('third', i), now() - interval '1 day', now()
    from generate_series(1, %(runs)s) as i
  returning run_id, input, started_at
), states as (
  insert into pgflow.step_states (flow_slug, run_id, step_slug, status, remaining_tasks, initial_tasks, output,
                                  created_at, started_at, completed_at)
  select 'chain3', run.run_id, s.step_slug, 'completed', 0, 1, run.input, run.started_at, run.started_at, now()
    from run, pgflow.steps s where s.flow_slug = 'chain3'
)
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id, status, attempts_count,
                               output, queued_at, started_at, completed_at, fence, settled_fence)
select 'chain3', run.run_id, s.step_slug, nextval('pgmq.q_chain3_msg_id_seq'), 'completed', 1, run.input,
       run.started_at, run.started_at, now(), 1, 1
  from run, pgflow.steps s where s.flow_slug = 'chain3'
"""

#: How full inserts make the pages of our tables, in percent: the rest is for updates.
_FILL_FACTORS = """
select c.oid::regclass::text, o.option_value::int
  from pg_class c cross join pg_options_to_table(c.reloptions) as o
 where c.relnamespace = 'pgflow'::regnamespace and o.option_name = 'fillfactor'
"""
#: Percent of a page that updates of its rows have used up by the time they have finished.
_GROWN = 10

_ARCHIVE = """
insert into pgmq.a_{0} (msg_id, vt, read_ct, enqueued_at, message)
select message_id, started_at, 1, queued_at, jsonb_build_object(
         'flow_slug', flow_slug, 'run_id', run_id, 'step_slug', step_slug, 'task_index', task_index)
  from pgflow.step_tasks where flow_slug = '{0}'
"""


def fill(dsn: str, tasks: int) -> None:
    """So many finished tasks, with their runs, step states and archived messages; counted as autovacuum would."""
    with Client(dsn) as client:
        for flow in flows(Setup()):
            client.compile(flow)
    elements = min(_MAP, tasks // 2)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # no foreign key is looked up
        with _without_room(connection):
            connection.execute(_MAPS, {"elements": elements, "runs": tasks // 2 // elements})
            connection.execute(_CHAINS, {"runs": tasks // 6})
        for flow in ("fan_out", "chain3"):
            connection.execute(_ARCHIVE.format(flow))
        for table in _TABLES:
            connection.execute(f"vacuum (freeze, analyze) {table}")


@contextmanager
def _without_room(connection: psycopg.Connection) -> Iterator[None]:
    """What is inserted leaves pages as work does: rows have grown since they came, and there is no room for another.
    Else each new row would be put on some old page of its own."""
    usual = connection.execute(_FILL_FACTORS).fetchall()
    for table, percent in usual:
        connection.execute(f"alter table {table} set (fillfactor = {percent + _GROWN})")
    yield
    for table, percent in usual:
        connection.execute(f"alter table {table} set (fillfactor = {percent})")
