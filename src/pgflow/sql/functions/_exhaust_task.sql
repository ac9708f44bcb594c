-- A task has failed for good, and its step goes the way of when_exhausted. The caller holds run, step state
-- and task; locks messages.
create or replace function pgflow._exhaust_task(p_run_id uuid, p_step_slug text, p_task_index int, p_error text)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_key constant pgflow.step_key := (p_run_id, p_step_slug);
  v_when_exhausted text;
begin
  perform pgflow._archive_task_message(p_run_id, p_step_slug, p_task_index);
  update pgflow.step_tasks t
     set status = 'failed', error_message = p_error, leased_until = null,
         failed_at = greatest(now(), t.queued_at, t.started_at)
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index;

  select s.when_exhausted into strict v_when_exhausted
    from pgflow.step_states ss
    join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
   where ss.run_id = p_run_id and ss.step_slug = p_step_slug;

  case v_when_exhausted
    when 'fail' then
      perform pgflow._fail_step_and_run(p_run_id, p_step_slug, p_error);
    when 'skip' then
      perform pgflow._archive_open_tasks(array[v_key]);
      perform pgflow._advance(pgflow._skip_steps(array[v_key], 'handler_failed', p_error));
    else
      perform pgflow._skip_downstream(array[v_key], 'handler_failed', p_error);
  end case;
  perform pgflow._count_down_steps(array[(p_run_id, null)::pgflow.step_key], true);
end
$$;
