-- A stored flow as a shape with its options, as _create_flow_from_shape takes it; null for an unknown one.
-- Locks nothing.
create or replace function pgflow.flow_definition(flow_slug text)
returns jsonb
language sql stable
set search_path to ''
as $$
  select jsonb_build_object(
    'options', jsonb_build_object(
      'maxAttempts', f.opt_max_attempts, 'baseDelay', f.opt_base_delay, 'timeout', f.opt_timeout
    ),
    'steps', (
      select coalesce(jsonb_agg(
               w.step || case when o.given = '{}' then '{}' else jsonb_build_object('options', o.given) end
               order by w.n), '[]')
        from jsonb_array_elements(pgflow._get_flow_shape(f.flow_slug) -> 'steps') with ordinality as w(step, n)
        join pgflow.steps s on s.flow_slug = f.flow_slug and s.step_slug = w.step ->> 'slug'
       cross join lateral jsonb_strip_nulls(jsonb_build_object(
               'maxAttempts', s.opt_max_attempts, 'baseDelay', s.opt_base_delay, 'timeout', s.opt_timeout,
               'startDelay', s.opt_start_delay)) as o(given)
    )
  )
  from pgflow.flows f
  where f.flow_slug = flow_definition.flow_slug
$$;
