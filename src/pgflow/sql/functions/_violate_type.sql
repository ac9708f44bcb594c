-- A single step's output is no array though a map waits for one: task, step and run fail, without retry.
-- The caller holds run, step state and task; locks messages.
create or replace function pgflow._violate_type(
  p_run_id uuid,
  p_step_slug text,
  p_task_index int,
  p_output jsonb,
  p_child_slug text
)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_type constant text := coalesce(jsonb_typeof(p_output), 'null');
  v_error constant text := format(
    '[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s',
    p_child_slug, p_step_slug, v_type);
begin
  perform pgflow._archive_task_message(p_run_id, p_step_slug, p_task_index);
  update pgflow.step_tasks t
     set status = 'failed', output = p_output, leased_until = null,
         error_message = format('[TYPE_VIOLATION] Produced %s instead of array', v_type),
         failed_at = greatest(now(), t.queued_at, t.started_at)
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index;
  update pgflow.step_states ss
     set status = 'failed', error_message = v_error, failed_at = greatest(now(), ss.started_at)
   where ss.run_id = p_run_id and ss.step_slug = p_step_slug;
  perform pgflow._fail_run(p_run_id, v_error, p_with_error => false);
  perform pgflow._emit_steps(array[(p_run_id, p_step_slug)::pgflow.step_key]);
end
$$;
