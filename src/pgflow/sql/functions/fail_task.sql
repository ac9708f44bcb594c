-- A started task failed: it is retried after the backoff while attempts are left, else its step goes the way
-- of when_exhausted. Locks: run, step state, task, messages.
create or replace function pgflow.fail_task(run_id uuid, step_slug text, task_index int, error_message text)
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
  v_run constant uuid := fail_task.run_id;
  v_step constant text := fail_task.step_slug;
  v_index constant int := fail_task.task_index;
  v_held record;
  v_task pgflow.step_tasks;
  v_max_attempts int;
  v_base_delay int;
begin
  select * into v_held from pgflow._hold_task(v_run, v_step, v_index);
  v_task := v_held.task;

  if v_held.run_status = 'failed' then
    update pgflow.step_tasks t
       set status = 'failed', error_message = fail_task.error_message, leased_until = null,
           failed_at = greatest(now(), t.started_at, t.queued_at)
     where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index and t.status = 'started';
    perform pgflow._archive_task_message(v_run, v_step, v_index);
  elsif v_held.step_status <> 'started' then
    perform pgflow._archive_task_message(v_run, v_step, v_index);
  elsif v_task.status = 'started' then
    select o.max_attempts, o.base_delay into strict v_max_attempts, v_base_delay
      from pgflow._task_options o where o.flow_slug = v_task.flow_slug and o.step_slug = v_step;
    if v_task.attempts_count < v_max_attempts then
      update pgflow.step_tasks t
         set status = 'queued', started_at = null, error_message = fail_task.error_message, leased_until = null,
             permanently_stalled_at = null
       where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
      perform pgflow._show_again(
        v_task.flow_slug,
        array[(v_run, v_step, v_index, v_task.message_id)::pgflow.task_key],
        array[clock_timestamp()
              + make_interval(secs => pgflow.calculate_retry_delay(v_base_delay, v_task.attempts_count))]
      );
    else
      perform pgflow._exhaust_task(v_run, v_step, v_index, fail_task.error_message);
    end if;
  end if;

  return query
    select t.* from pgflow.step_tasks t
     where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
end
$$;
