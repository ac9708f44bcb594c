-- The element of a map task whose row does not hold it (a row that a caller made by hand). Locks nothing.
create or replace function pgflow._map_element(p_run_id uuid, p_step_slug text, p_task_index int)
returns jsonb
language sql stable
set search_path to ''
as $$
  select case when s.deps_count > 0 then up.output -> p_task_index
              when s.initial_tasks is not null then to_jsonb(p_task_index)
              else r.input -> p_task_index end
    from pgflow.runs r
    join pgflow.steps s on s.flow_slug = r.flow_slug and s.step_slug = p_step_slug
    left join pgflow.deps d on d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
    left join lateral (
      select x.output from pgflow.step_states x where x.run_id = p_run_id and x.step_slug = d.dep_slug offset 0
    ) up on true
   where r.run_id = p_run_id
$$;
