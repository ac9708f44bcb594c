-- The outcomes that settle_tasks was given, without their outputs. Locks nothing.
create or replace function pgflow._read_outcomes(p_outcomes jsonb)
returns setof pgflow.outcome
language sql immutable
set search_path to ''
as $$
  select x.n, row_number() over (partition by x.run_id, x.step_slug, x.task_index, x.fence order by x.n),
         x.run_id, x.step_slug, x.task_index, x.fence, x.status, x.error, x.permanent, x.retry_in
    from rows from (
           jsonb_to_recordset(p_outcomes) as (
             run_id uuid, step_slug text, task_index int, fence bigint, status text, error text,
             permanent boolean, retry_in double precision)
         ) with ordinality as x(run_id, step_slug, task_index, fence, status, error, permanent, retry_in, n)
$$;
