"""The floor: the rows that our fan-out writes, written by as few statements as PostgreSQL allows.

The same tables, indexes and constraints as ours, on one connection, in batches of 1,000 and one transaction each:
claim messages and tasks, store the results, archive the messages; at the end aggregate, and close step and run.
Nothing is judged, fenced, recovered or sent to anybody: nothing that does this work can be faster than this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import psycopg

from engines.harness import Engine, Setup, main
from engines.ours import flows
from engines.ours import prepare as migrate
from pgflow import AsyncClient

_BATCH = 1000

_START = """
with run as (
  insert into pgflow.runs (flow_slug, input, remaining_steps) values ('fan_out', to_jsonb(%(items)s::int), 3)
  returning run_id
), states as (
  insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps)
  select s.flow_slug, run.run_id, s.step_slug, s.deps_count
    from run, pgflow.steps s where s.flow_slug = 'fan_out'
)
select run_id from run
"""

_BEGIN_STEP = """
update pgflow.step_states
   set status = 'started', started_at = now(), remaining_deps = 0, initial_tasks = %(n)s, remaining_tasks = %(n)s
 where run_id = %(run)s and step_slug = %(step)s
"""

_MAKE_TASKS = """
with task as (
  select i, jsonb_build_object(
           'flow_slug', 'fan_out', 'run_id', %(run)s::uuid, 'step_slug', %(step)s::text, 'task_index', i) as message
    from generate_series(0, %(n)s - 1) as i
), message as (
  insert into pgmq.q_fan_out (vt, message) select clock_timestamp(), t.message from task t order by t.i
  returning msg_id, (message ->> 'task_index')::int as i
)
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input)
select 'fan_out', %(run)s, %(step)s, m.i, m.msg_id, to_jsonb(m.i) from message m
"""

_CLAIM = """
with message as (
  select msg_id from pgmq.q_fan_out where vt <= clock_timestamp() order by msg_id limit %(batch)s
  for update skip locked
), read as (
  update pgmq.q_fan_out q set vt = clock_timestamp() + interval '15 s', read_ct = read_ct + 1
    from message m where q.msg_id = m.msg_id
  returning q.msg_id, (q.message ->> 'run_id')::uuid as run_id, q.message ->> 'step_slug' as step_slug,
            (q.message ->> 'task_index')::int as i
)
update pgflow.step_tasks t
   set status = 'started', started_at = now(), attempts_count = attempts_count + 1, fence = fence + 1
  from read r
 where t.run_id = r.run_id and t.step_slug = r.step_slug and t.task_index = r.i
returning t.message_id, t.run_id, t.step_slug, t.task_index
"""

_SETTLE = """
with outcome as (
  select * from unnest(%(messages)s::bigint[], %(tasks)s::int[]) as o (msg_id, i)
), stored as (
  update pgflow.step_tasks t
     set status = 'completed', output = to_jsonb(o.i), completed_at = now(), settled_fence = fence
    from outcome o
   where t.run_id = %(run)s and t.step_slug = %(step)s and t.task_index = o.i
), taken as (
  delete from pgmq.q_fan_out q using outcome o where q.msg_id = o.msg_id
  returning q.msg_id, q.vt, q.read_ct, q.enqueued_at, q.message
), archived as (
  insert into pgmq.a_fan_out (msg_id, vt, read_ct, enqueued_at, message)
  select msg_id, vt, read_ct, enqueued_at, message from taken
)
update pgflow.step_states set remaining_tasks = remaining_tasks - cardinality(%(tasks)s::int[])
 where run_id = %(run)s and step_slug = %(step)s
"""

_END_STEP = """
update pgflow.step_states s
   set status = 'completed', completed_at = now(), output = (
         select jsonb_agg(t.output order by t.task_index)
           from pgflow.step_tasks t where t.run_id = s.run_id and t.step_slug = s.step_slug)
 where s.run_id = %(run)s and s.step_slug = %(step)s
"""

_END_RUN = """
update pgflow.runs r
   set status = 'completed', completed_at = now(), remaining_steps = 0, output = jsonb_build_object('count', (
         select jsonb_array_length(s.output)
           from pgflow.step_states s where s.run_id = r.run_id and s.step_slug = 'element'))
 where r.run_id = %(run)s
returning r.output
"""


class _Client:
    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.connection = connection

    async def fan_out(self, items: int) -> None:
        async with self.connection.transaction():
            run = (await self._row(_START, items=items))[0]
            await self._start_step(run, "items", 1)
        await self._batch(run, "items")
        async with self.connection.transaction():
            await self.connection.execute(_END_STEP, {"run": run, "step": "items"})
            await self._start_step(run, "element", items)
        for _ in range(0, items, _BATCH):
            await self._batch(run, "element")
        async with self.connection.transaction():
            await self.connection.execute(_END_STEP, {"run": run, "step": "element"})
            await self._start_step(run, "count", 1)
        await self._batch(run, "count")
        async with self.connection.transaction():
            await self.connection.execute(_END_STEP, {"run": run, "step": "count"})
            assert await self._row(_END_RUN, run=run) == ({"count": items},)

    async def _start_step(self, run: object, step: str, tasks: int) -> None:
        for statement in (_BEGIN_STEP, _MAKE_TASKS):
            await self.connection.execute(statement, {"run": run, "step": step, "n": tasks})

    async def _batch(self, run: object, step: str) -> None:
        async with self.connection.transaction():
            claimed = await (await self.connection.execute(_CLAIM, {"batch": _BATCH})).fetchall()
            outcomes = {"messages": [row[0] for row in claimed], "tasks": [row[3] for row in claimed]}
            await self.connection.execute(_SETTLE, {"run": run, "step": step, **outcomes})

    async def _row(self, statement: str, **parameters: object) -> tuple:
        row = await (await self.connection.execute(statement, parameters)).fetchone()
        assert row is not None
        return row


async def prepare(dsn: str) -> None:
    await migrate(dsn)
    async with AsyncClient(dsn) as pgflow:
        await pgflow.compile(flows(Setup("fanout", 0, 0))[0])


@asynccontextmanager
async def client(dsn: str, _setup: Setup) -> AsyncIterator[_Client]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield _Client(connection)


if __name__ == "__main__":
    main(Engine(version("py-pgflow"), keeps_results=True, prepare=prepare, client=client, scenarios=("fanout",)))
