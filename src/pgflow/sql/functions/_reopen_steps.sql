-- What of a failed run had not ended well goes on: failed steps are 'started' again, or 'created' if they never
-- started, and the counters of all open steps are made anew. Returns the steps that had failed and are started again.
-- The caller holds run and step states.
create or replace function pgflow._reopen_steps(p_run_id uuid)
returns pgflow.step_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_restarted constant pgflow.step_key[] := array(
    select (ss.run_id, ss.step_slug)::pgflow.step_key
      from pgflow.step_states ss
      join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
     where ss.run_id = p_run_id and ss.status = 'failed' and ss.started_at is not null
     order by s.step_index
  );
begin
  update pgflow.step_states ss
     set status = case when ss.started_at is null then 'created' else 'started' end,
         started_at = case when ss.status = 'failed' and ss.started_at is not null
                           then greatest(now(), ss.created_at) else ss.started_at end,
         failed_at = null,
         error_message = null,
         remaining_tasks = case when ss.started_at is not null then ss.initial_tasks - (
           select count(*) from pgflow.step_tasks t
            where t.run_id = ss.run_id and t.step_slug = ss.step_slug and t.status = 'completed') end,
         remaining_deps = (
           select count(*)
             from pgflow.deps d
             join pgflow.step_states up on up.run_id = ss.run_id and up.step_slug = d.dep_slug
            where d.flow_slug = ss.flow_slug and d.step_slug = ss.step_slug
              and up.status not in ('completed', 'skipped'))
   where ss.run_id = p_run_id and ss.status in ('created', 'started', 'failed');
  return v_restarted;
end
$$;
