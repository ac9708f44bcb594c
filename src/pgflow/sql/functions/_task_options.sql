-- Per step its options, the step's own before the flow's (an attempt is always made), and of what kind it is.
-- Locks nothing.
create or replace view pgflow._task_options as
select s.flow_slug, s.step_slug,
       greatest(coalesce(s.opt_max_attempts, f.opt_max_attempts), 1) as max_attempts,
       coalesce(s.opt_base_delay, f.opt_base_delay) as base_delay,
       coalesce(s.opt_timeout, f.opt_timeout) as timeout,
       s.step_type,
       s.deps_count = 0 as is_root
  from pgflow.steps s
  join pgflow.flows f on f.flow_slug = s.flow_slug;
