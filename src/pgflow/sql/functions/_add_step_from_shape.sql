-- Adds a step as a shape describes it; one that is there stays as it is. Locks as add_step does.
create or replace function pgflow._add_step_from_shape(p_flow_slug text, p_step jsonb)
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform pgflow.add_step(
    flow_slug => p_flow_slug,
    step_slug => p_step ->> 'slug',
    deps_slugs => array(
      select d.slug from jsonb_array_elements_text(coalesce(p_step -> 'dependencies', '[]'))
        with ordinality as d(slug, n) order by d.n
    ),
    max_attempts => (p_step #>> '{options,maxAttempts}')::int,
    base_delay => (p_step #>> '{options,baseDelay}')::int,
    timeout => (p_step #>> '{options,timeout}')::int,
    start_delay => (p_step #>> '{options,startDelay}')::int,
    step_type => p_step ->> 'stepType',
    required_input_pattern => case when (p_step #> '{requiredInputPattern,defined}') = 'true'
      then p_step #> '{requiredInputPattern,value}' end,
    forbidden_input_pattern => case when (p_step #> '{forbiddenInputPattern,defined}') = 'true'
      then p_step #> '{forbiddenInputPattern,value}' end,
    when_unmet => coalesce(p_step ->> 'whenUnmet', 'skip'),
    when_exhausted => coalesce(p_step ->> 'whenExhausted', 'fail')
  );
  if coalesce(p_step ->> 'initialTasks', p_step ->> 'handler') is not null then
    update pgflow.steps s
       set initial_tasks = (p_step ->> 'initialTasks')::int, handler = p_step ->> 'handler'
     where s.flow_slug = p_flow_slug and s.step_slug = p_step ->> 'slug';
  end if;
end
$$;
