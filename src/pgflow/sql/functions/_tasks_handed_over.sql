-- The tasks of these steps as their worker gets them, who has been given all of them in this transaction (_send_tasks).
-- They follow from results, so none is of a root step. Locks nothing.
create or replace function pgflow._tasks_handed_over(p_steps pgflow.started_step[])
returns setof pgflow.claimed_task
language plpgsql
set search_path to ''
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
begin
  return query
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id,
           case when o.step_type = 'map' then t.input
                else (select i.input from pgflow._step_inputs i
                       where i.run_id = t.run_id and i.step_slug = t.step_slug) end,
           null::jsonb, t.fence, t.attempts_count, o.max_attempts, o.timeout, o.base_delay
      from unnest(p_steps) as k
     cross join lateral (
       select x.step_type, x.max_attempts, x.timeout, x.base_delay
         from pgflow._task_options x where x.flow_slug = k.flow_slug and x.step_slug = k.step_slug offset 0
     ) o
     cross join lateral (
       select x.* from pgflow.step_tasks x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
     ) t
     order by t.message_id;
end
$$;
