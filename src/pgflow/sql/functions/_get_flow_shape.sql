-- The stored flow as a shape, without options (they are no part of a comparison). Locks nothing.
create or replace function pgflow._get_flow_shape(p_flow_slug text)
returns jsonb
language sql stable
set search_path to ''
as $$
  select jsonb_build_object('steps', coalesce(jsonb_agg(
    jsonb_build_object(
      'slug', s.step_slug,
      'stepType', s.step_type,
      'dependencies', coalesce(
        (select jsonb_agg(d.dep_slug order by d.dep_slug collate "C")
           from pgflow.deps d where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug), '[]'),
      'whenUnmet', s.when_unmet,
      'whenExhausted', s.when_exhausted,
      'requiredInputPattern', case when s.required_input_pattern is null then '{"defined": false}'
        else jsonb_build_object('defined', true, 'value', s.required_input_pattern) end,
      'forbiddenInputPattern', case when s.forbidden_input_pattern is null then '{"defined": false}'
        else jsonb_build_object('defined', true, 'value', s.forbidden_input_pattern) end
    ) || case when s.initial_tasks is null then '{}'
         else jsonb_build_object('initialTasks', s.initial_tasks) end
      || case when s.handler is null then '{}' else jsonb_build_object('handler', s.handler) end
    order by s.step_index), '[]'))
  from pgflow.steps s
  where s.flow_slug = p_flow_slug
$$;
