-- Per step what its definition means for its runs: whether nothing can hold it back once its dependencies have ended
-- (it has no condition and no declared length: see _unmet_steps), and whether maps wait for its output (asked of
-- single steps only: a map's own output always is an array). Locks nothing.
create or replace view pgflow._defined_steps as
select s.flow_slug, s.step_slug, s.step_type, s.step_index, s.deps_count, s.initial_tasks,
       s.required_input_pattern is null and s.forbidden_input_pattern is null
         and (s.initial_tasks is null or s.deps_count = 0) as is_unconditional,
       s.step_type = 'single' and exists (
         select from pgflow.deps d
           join pgflow.steps child on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug
          where d.flow_slug = s.flow_slug and d.dep_slug = s.step_slug and child.step_type = 'map'
       ) as feeds_map
  from pgflow.steps s;
