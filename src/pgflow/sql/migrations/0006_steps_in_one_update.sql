-- A step of a run that has just started, and how many tasks it has: what is passed on to those who send them.
create type pgflow.started_step as (flow_slug text, run_id uuid, step_slug text, tasks int);

-- Results of one step of a run: the outcomes' places (from 1), and per place the task and its fence.
create type pgflow.step_results as (run_id uuid, step_slug text, places int[], indexes int[], fences bigint[]);

-- What nothing holds back starts in the update that frees it, and a run completes in the one that counts it down:
-- PostgreSQL checks all foreign keys of a row again when a transaction changes it a second time.
drop function if exists pgflow._advance(uuid[], pgflow.step_key[]);
drop function if exists pgflow._release_dependents(pgflow.step_key[]);
drop function if exists pgflow._start_steps(pgflow.step_key[]);
drop function if exists pgflow._send_tasks(text, pgflow.step_key[]);
drop function if exists pgflow._store_results(uuid, jsonb);
drop function if exists pgflow._complete_runs(uuid[]);
drop function if exists pgflow._count_down_steps(pgflow.step_key[]);
delete from pgflow.schema_functions where name = '_complete_runs';

-- What messages say is read by a statement of its own, whose plan is kept.
drop function if exists pgflow._task_key();
drop function if exists pgflow._task_keys(text, bigint[]);
delete from pgflow.schema_functions where name in ('_task_key', '_task_keys');
