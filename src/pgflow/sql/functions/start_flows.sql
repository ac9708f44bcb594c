-- Starts many runs of a flow at once and returns them in the order of the inputs. All inputs are checked
-- before anything is written; a key that has a run already gives that run. start_at: no task before then.
-- Locks nothing but what it makes; who starts runs under the same new keys waits.
create or replace function pgflow.start_flows(
  flow_slug text,
  inputs jsonb[],
  run_ids uuid[] default null,
  keys text[] default null,
  start_at timestamptz default null
)
returns setof pgflow.runs
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
#variable_conflict use_column
declare
  v_takes_array boolean;
  v_fault text;
  v_ids uuid[];
begin
  v_takes_array := pgflow._takes_array(start_flows.flow_slug);
  select format('Input %s: %s', w.i - 1,
                case when v_takes_array then pgflow._no_array(start_flows.flow_slug, w.input) else 'is NULL' end)
    into v_fault
    from unnest(start_flows.inputs) with ordinality as w(input, i)
   where w.input is null or (v_takes_array and jsonb_typeof(w.input) <> 'array')
   order by w.i
   limit 1;
  if found then
    raise exception '%', v_fault;
  end if;
  if cardinality(run_ids) <> cardinality(inputs) or cardinality(keys) <> cardinality(inputs) then
    raise exception 'run_ids (%) and keys (%) must be as many as inputs (%)',
      cardinality(run_ids), cardinality(keys), cardinality(inputs);
  end if;

  v_ids := pgflow._start_runs(start_flows.flow_slug, inputs, run_ids, keys, start_flows.start_at);
  return query
    select r.* from unnest(v_ids) with ordinality as w(run_id, i)
     cross join lateral (select x.* from pgflow.runs x where x.run_id = w.run_id offset 0) r
     order by w.i;
end
$$;
