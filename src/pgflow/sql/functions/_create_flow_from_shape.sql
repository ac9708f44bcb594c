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
    perform pgflow._add_step_from_shape(p_flow_slug, v_step);
  end loop;
end
$$;
