-- The first map that waits for this single step's array, if its output is none; else null. Locks nothing.
create or replace function pgflow._starved_map(p_run_id uuid, p_step_slug text, p_output jsonb)
returns text
language sql stable
set search_path to ''
as $$
  select child.step_slug
    from (
      select x.flow_slug
        from pgflow.runs r
        join pgflow.steps x on x.flow_slug = r.flow_slug and x.step_slug = p_step_slug
       where r.run_id = p_run_id and x.step_type = 'single'
      offset 0
    ) s
    join pgflow.deps d on d.flow_slug = s.flow_slug and d.dep_slug = p_step_slug
    join pgflow.steps child on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug
   where child.step_type = 'map'
     and jsonb_typeof(p_output) is distinct from 'array'
     -- a look-up by primary key for each such map, whatever the planner knows of the tables
     and (select waiting.initial_tasks is null from pgflow.step_states waiting
           where waiting.run_id = p_run_id and waiting.step_slug = child.step_slug)
   order by child.step_index
   limit 1
$$;
