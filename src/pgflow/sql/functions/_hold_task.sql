-- Locks a task the way every caller must: run, step state, task. Says where run, step and task then stand
-- (null for what does not exist).
create or replace function pgflow._hold_task(
  p_run_id uuid,
  p_step_slug text,
  p_task_index int,
  out run_status text,
  out step_status text,
  out task pgflow.step_tasks
)
language plpgsql
set search_path to ''
as $$
begin
  select r.status into run_status from pgflow.runs r where r.run_id = p_run_id for no key update;
  select ss.status into step_status
    from pgflow.step_states ss where ss.run_id = p_run_id and ss.step_slug = p_step_slug for no key update;
  select t.* into task
    from pgflow.step_tasks t
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index for no key update;
end
$$;
