-- Completes a started task with its output, and everything that follows; a late or repeated call changes nothing.
-- Whoever calls is believed: it carries no fence. Locks: run, step state, task, messages.
create or replace function pgflow.complete_task(run_id uuid, step_slug text, task_index int, output jsonb)
returns setof pgflow.step_tasks
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
#variable_conflict use_column
declare
  v_run constant uuid := complete_task.run_id;
  v_step constant text := complete_task.step_slug;
  v_index constant int := complete_task.task_index;
  v_held record;
  v_child text;
begin
  select * into v_held from pgflow._hold_task(v_run, v_step, v_index);

  if v_held.run_status = 'failed' then
    null;
  elsif v_held.step_status <> 'started' then
    perform pgflow._archive_task_message(v_run, v_step, v_index);
  else
    v_child := pgflow._starved_map(v_run, v_step, complete_task.output);
    if v_child is not null then
      perform pgflow._violate_type(v_run, v_step, v_index, complete_task.output, v_child);
    elsif (v_held.task).status = 'started' then
      update pgflow.step_tasks t
         set status = 'completed', output = complete_task.output, leased_until = null,
             completed_at = greatest(now(), t.started_at, t.queued_at)
       where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
      perform pgflow._archive_task_message(v_run, v_step, v_index);
      perform pgflow._count_down_tasks(array[(v_run, v_step)::pgflow.step_key]);
    end if;
  end if;

  return query
    select t.* from pgflow.step_tasks t
     where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
end
$$;
