-- Stores a flow, its steps and its options as a shape describes them. Locks as create_flow and add_step do.
create or replace function pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_options constant jsonb := coalesce(p_shape -> 'options', '{}');
  v_step jsonb;
begin
  perform pgflow.create_flow(
    p_flow_slug,
    (v_options ->> 'maxAttempts')::int,
    (v_options ->> 'baseDelay')::int,
    (v_options ->> 'timeout')::int
  );
  for v_step in select s.value from jsonb_array_elements(p_shape -> 'steps') with ordinality as s order by s.ordinality loop
    perform pgflow.add_step(
      flow_slug => p_flow_slug,
      step_slug => v_step ->> 'slug',
      deps_slugs => array(
        select d.slug from jsonb_array_elements_text(coalesce(v_step -> 'dependencies', '[]'))
          with ordinality as d(slug, n) order by d.n
      ),
      max_attempts => (v_step #>> '{options,maxAttempts}')::int,
      base_delay => (v_step #>> '{options,baseDelay}')::int,
      timeout => (v_step #>> '{options,timeout}')::int,
      start_delay => (v_step #>> '{options,startDelay}')::int,
      step_type => v_step ->> 'stepType',
      required_input_pattern => case when (v_step #> '{requiredInputPattern,defined}') = 'true'
        then v_step #> '{requiredInputPattern,value}' end,
      forbidden_input_pattern => case when (v_step #> '{forbiddenInputPattern,defined}') = 'true'
        then v_step #> '{forbiddenInputPattern,value}' end,
      when_unmet => coalesce(v_step ->> 'whenUnmet', 'skip'),
      when_exhausted => coalesce(v_step ->> 'whenExhausted', 'fail')
    );
    if v_step ->> 'initialTasks' is not null then
      update pgflow.steps s set initial_tasks = (v_step ->> 'initialTasks')::int
       where s.flow_slug = p_flow_slug and s.step_slug = v_step ->> 'slug';
    end if;
  end loop;
end
$$;
