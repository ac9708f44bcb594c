-- Tasks of these steps have just completed (each key one task): the steps count down, and one that reaches 0
-- completes with its output, aggregated once, here. Then everything that follows.
-- The caller holds runs and step states and has archived the tasks' messages.
create or replace function pgflow._count_down_tasks(p_keys pgflow.step_key[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_done pgflow.step_key[];
  v_freed record;
begin
  with counted as (
    update pgflow.step_states ss
       set remaining_tasks = ss.remaining_tasks - w.tasks,
           status = case when ss.remaining_tasks = w.tasks then 'completed' else ss.status end,
           completed_at = case when ss.remaining_tasks = w.tasks then greatest(now(), ss.started_at) end,
           output = case when ss.remaining_tasks is distinct from w.tasks then null
             when s.step_type = 'single' then
               (select t.output from pgflow.step_tasks t
                 where t.run_id = ss.run_id and t.step_slug = ss.step_slug and t.task_index = 0)
             else
               (select to_jsonb(array_agg(t.output order by t.task_index)) from pgflow.step_tasks t
                 where t.run_id = ss.run_id and t.step_slug = ss.step_slug)
             end
      from (select k.run_id, k.step_slug, count(*) as tasks from unnest(p_keys) as k group by 1, 2) w,
           pgflow.steps s
     where ss.run_id = w.run_id and ss.step_slug = w.step_slug
       and s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
    returning ss.run_id, ss.step_slug, ss.status, s.step_index
  )
  select array_agg((c.run_id, c.step_slug)::pgflow.step_key order by c.run_id, c.step_index)
           filter (where c.status = 'completed')
    into v_done from counted c;

  if v_done is not null then
    perform pgflow._emit_steps(v_done);
    perform pgflow._count_down_steps(v_done, true);
    select * into v_freed from pgflow._release_dependents(v_done, true);
    perform pgflow._advance(v_freed.ready, v_freed.started);
  end if;
end
$$;
