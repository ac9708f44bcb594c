-- Starts one run of a flow and returns it as it then stands. Locks nothing but what it makes.
create or replace function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null)
returns setof pgflow.runs
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
declare
  v_ids uuid[];
begin
  if pgflow._takes_array(start_flow.flow_slug) and jsonb_typeof(start_flow.input) is distinct from 'array' then
    raise exception '%', pgflow._no_array(start_flow.flow_slug, start_flow.input);
  end if;
  v_ids := pgflow._start_runs(start_flow.flow_slug, array[start_flow.input], array[start_flow.run_id], null, null);
  return query select r.* from pgflow.runs r where r.run_id = v_ids[1];
end
$$;
