-- Gives a stored flow and its steps the options and handlers of a shape that is otherwise the same; returns whether
-- anything changed. Locks: the flow's row and its steps, where they change.
create or replace function pgflow._update_options(p_flow_slug text, p_shape jsonb)
returns boolean
language plpgsql
set search_path to ''
as $$
declare
  v_flows int;
  v_steps int;
begin
  update pgflow.flows f
     set opt_max_attempts = o.max_attempts, opt_base_delay = o.base_delay, opt_timeout = o.timeout
    from (select coalesce((p_shape #>> '{options,maxAttempts}')::int, 3) as max_attempts,
                 coalesce((p_shape #>> '{options,baseDelay}')::int, 5) as base_delay,
                 coalesce((p_shape #>> '{options,timeout}')::int, 60) as timeout) o
   where f.flow_slug = p_flow_slug
     and (f.opt_max_attempts, f.opt_base_delay, f.opt_timeout) <> (o.max_attempts, o.base_delay, o.timeout);
  get diagnostics v_flows = row_count;

  update pgflow.steps s
     set opt_max_attempts = o.max_attempts, opt_base_delay = o.base_delay, opt_timeout = o.timeout,
         opt_start_delay = o.start_delay, handler = o.handler
    from (select w.step ->> 'slug' as slug,
                 (w.step #>> '{options,maxAttempts}')::int as max_attempts,
                 (w.step #>> '{options,baseDelay}')::int as base_delay,
                 (w.step #>> '{options,timeout}')::int as timeout,
                 (w.step #>> '{options,startDelay}')::int as start_delay,
                 w.step ->> 'handler' as handler
            from jsonb_array_elements(p_shape -> 'steps') as w(step)) o
   where s.flow_slug = p_flow_slug and s.step_slug = o.slug
     and (s.opt_max_attempts, s.opt_base_delay, s.opt_timeout, s.opt_start_delay, s.handler)
         is distinct from (o.max_attempts, o.base_delay, o.timeout, o.start_delay, o.handler);
  get diagnostics v_steps = row_count;
  return v_flows + v_steps > 0;
end
$$;
