-- A run with its step states, in the order of the flow; null for an unknown run. Locks nothing.
create or replace function pgflow.get_run_with_states(run_id uuid)
returns jsonb
language sql
security definer
set search_path to ''
as $$
  select jsonb_build_object(
           'run', to_jsonb(r),
           'steps', coalesce(
             (select to_jsonb(array_agg(to_jsonb(ss) order by s.step_index))
                from pgflow.step_states ss
                join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
               where ss.run_id = r.run_id), '[]'))
    from pgflow.runs r
   where r.run_id = get_run_with_states.run_id
$$;
