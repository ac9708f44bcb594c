-- Which of these ready steps may not start, what becomes of each (when_unmet) and with which error.
-- A condition is judged on the run's input (root step) or on {dep_slug: output}; a map whose length was
-- declared is judged on the length it got. Locks nothing; the caller holds the runs.
create or replace function pgflow._unmet_steps(p_keys pgflow.step_key[])
returns table (run_id uuid, step_slug text, step_index int, action text, error text)
language plpgsql stable
set search_path to ''
as $$
#variable_conflict use_column
begin
  return query
    select k.run_id, k.step_slug, s.step_index,
           case when c.met then 'fail' else s.when_unmet end,
           case when c.met
             then format('Map step "%s" expected %s elements, got %s', s.step_slug, s.initial_tasks, ss.initial_tasks)
             else 'Condition not met' end
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug, x.initial_tasks
         from pgflow.step_states x
        where x.run_id = k.run_id and x.step_slug = k.step_slug and x.status = 'created' and x.remaining_deps = 0
       offset 0
     ) ss
     cross join lateral (
       select x.input from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
     ) r
     cross join lateral (
       select x.* from pgflow.steps x where x.flow_slug = ss.flow_slug and x.step_slug = k.step_slug offset 0
     ) s
     cross join lateral (
       select case when s.required_input_pattern is null and s.forbidden_input_pattern is null then null
                   when s.deps_count = 0 then r.input
                   else (select i.input from pgflow._step_inputs i
                          where i.run_id = k.run_id and i.step_slug = k.step_slug)
              end as context
       offset 0
     ) j
     cross join lateral (
       select (s.required_input_pattern is null or j.context @> s.required_input_pattern)
          and (s.forbidden_input_pattern is null or not j.context @> s.forbidden_input_pattern) as met
     ) c
     where not c.met
        or ((s.initial_tasks <> ss.initial_tasks) is true and s.deps_count > 0
            -- a skipped dependency had no length
            and exists (select from pgflow.deps d
                         where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
                           and (select up.status = 'completed' from pgflow.step_states up
                                 where up.run_id = k.run_id and up.step_slug = d.dep_slug)));
end
$$;
