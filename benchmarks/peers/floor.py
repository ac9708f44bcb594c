"""The floor: the rows that our fan-out writes, written by as few statements as PostgreSQL allows.

The same tables, indexes and constraints as ours, on one connection, in batches of 1,000 and one transaction each:
claim messages and tasks, store the results, archive the messages; at the end aggregate, and close step and run.
Nothing is judged, fenced, recovered or sent to anybody: nothing that does this work can be faster than this.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import psycopg
from psycopg.types.json import Jsonb

from peers.harness import Engine, Setup, main
from peers.ours import flows
from peers.ours import prepare as migrate
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
  select (i - 1)::int as i, input, jsonb_build_object(
           'flow_slug', 'fan_out', 'run_id', %(run)s::uuid, 'step_slug', %(step)s::text, 'task_index', i - 1) as message
    from jsonb_array_elements(%(inputs)s) with ordinality as e (input, i)
), message as (
  insert into pgmq.q_fan_out (vt, message) select clock_timestamp(), t.message from task t order by t.i
  returning msg_id, (message ->> 'task_index')::int as i
)
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input)
select 'fan_out', %(run)s, %(step)s, t.i, m.msg_id, t.input from message m join task t using (i)
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
  select * from unnest(%(messages)s::bigint[], %(tasks)s::int[], %(outputs)s::jsonb[]) as o (msg_id, i, output)
), stored as (
  update pgflow.step_tasks t
     set status = 'completed', output = o.output, completed_at = now(), settled_fence = fence
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
         select case when %(is_map)s then jsonb_agg(t.output order by t.task_index) else min(t.output::text)::jsonb end
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


_START_RUNS = """
with run as (
  insert into pgflow.runs (flow_slug, input, remaining_steps)
  select 'chain3', to_jsonb(i), 3 from generate_series(1, %(runs)s) as i
  returning run_id
), states as (
  insert into pgflow.step_states
    (flow_slug, run_id, step_slug, remaining_deps, status, started_at, initial_tasks, remaining_tasks)
  select s.flow_slug, run.run_id, s.step_slug, s.deps_count,
         case when s.step_index = 0 then 'started' else 'created' end, case when s.step_index = 0 then now() end,
         1, case when s.step_index = 0 then 1 end
    from run, pgflow.steps s where s.flow_slug = 'chain3'
), message as (
  insert into pgmq.q_chain3 (vt, message)
  select clock_timestamp(), jsonb_build_object(
           'flow_slug', 'chain3', 'run_id', run.run_id, 'step_slug', 'first', 'task_index', 0)
    from run
  returning msg_id, (message ->> 'run_id')::uuid as run_id
)
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id)
select 'chain3', m.run_id, 'first', m.msg_id from message m
"""


class _Client:
    def __init__(self, connection: psycopg.AsyncConnection, setup: Setup) -> None:
        self.connection = connection
        self.setup = setup

    async def start_runs(self, runs: int, steps: int) -> None:
        assert steps == 3, "there is one chain only"
        await self.connection.execute(_START_RUNS, {"runs": runs})

    async def fan_out(self, items: int) -> None:
        elements = self.setup.elements(items)
        async with self.connection.transaction():
            run = (await self._row(_START, items=items))[0]
            await self._start_step(run, "items", [items])
        await self._work(run, "items", [elements])
        await self._end_step(run, "items", then=("element", elements))
        await self._work(run, "element", list(range(items)))
        await self._end_step(run, "element", then=("count", [None]))
        await self._work(run, "count", [items])
        async with self.connection.transaction():
            await self._execute(_END_STEP, run=run, step="count", is_map=False)
            assert await self._row(_END_RUN, run=run) == ({"count": items},)

    async def _start_step(self, run: object, step: str, inputs: list[object]) -> None:
        await self._execute(_BEGIN_STEP, run=run, step=step, n=len(inputs))
        await self._execute(_MAKE_TASKS, run=run, step=step, inputs=Jsonb(inputs))

    async def _end_step(self, run: object, step: str, then: tuple[str, list[object]]) -> None:
        async with self.connection.transaction():
            await self._execute(_END_STEP, run=run, step=step, is_map=step == "element")
            await self._start_step(run, *then)

    async def _work(self, run: object, step: str, outputs: list[object]) -> None:
        for _ in range(0, len(outputs), _BATCH):
            async with self.connection.transaction():
                claimed = await (await self._execute(_CLAIM, batch=_BATCH)).fetchall()
                messages, tasks = [row[0] for row in claimed], [row[3] for row in claimed]
                results = [json.dumps(outputs[task]) for task in tasks]
                await self._execute(_SETTLE, run=run, step=step, messages=messages, tasks=tasks, outputs=results)

    async def _execute(self, statement: str, **parameters: object) -> psycopg.AsyncCursor:
        return await self.connection.execute(statement, parameters)

    async def _row(self, statement: str, **parameters: object) -> tuple:
        row = await (await self._execute(statement, **parameters)).fetchone()
        assert row is not None
        return row


async def prepare(dsn: str) -> None:
    await migrate(dsn)
    async with AsyncClient(dsn) as pgflow:
        for flow in flows(Setup()):
            await pgflow.compile(flow)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield _Client(connection, setup)


if __name__ == "__main__":
    main(Engine(version("py-pgflow"), prepare=prepare, client=client, kinds=("fan_out", "start")))
