-- Adds a step, described as in a shape, to a flow that was made as data. One that is there and does not differ is left
-- alone, so that the call can be repeated. Refused while a run of the flow may still go on: it would lack the step.
-- Locks: the flow's row, for update, so that no run is started meanwhile.
create or replace function pgflow.add_dynamic_step(flow_slug text, step jsonb)
returns void
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_flow constant text := add_dynamic_step.flow_slug;
  v_slug constant text := step ->> 'slug';
  v_most constant int := 10000;
  v_dynamic_at timestamptz;
  v_stored jsonb;
  v_unknown text;
begin
  select f.dynamic_at into v_dynamic_at from pgflow.flows f where f.flow_slug = v_flow for update;
  if not found then
    raise exception 'Flow not found: %', v_flow using errcode = 'foreign_key_violation';
  elsif v_dynamic_at is null then
    raise exception 'Flow "%" comes from code: steps are added there', v_flow;
  end if;

  if exists (select from pgflow.steps s where s.flow_slug = v_flow and s.step_slug = v_slug) then
    select w.step into v_stored
      from jsonb_array_elements(pgflow.flow_definition(v_flow) -> 'steps') as w(step)
     where w.step ->> 'slug' = v_slug;
    if v_stored <> step then
      raise exception 'Flow "%" has a step "%" already, which differs from this one', v_flow, v_slug;
    end if;
    return;
  end if;

  select d.slug into v_unknown
    from jsonb_array_elements_text(coalesce(step -> 'dependencies', '[]')) with ordinality as d(slug, n)
   where not exists (select from pgflow.steps s where s.flow_slug = v_flow and s.step_slug = d.slug)
   order by d.n limit 1;
  if found then
    raise exception 'Step "%" depends on "%", which is no step of flow "%"', v_slug, v_unknown, v_flow;
  end if;
  if exists (select from pgflow.runs r where r.flow_slug = v_flow and r.status <> 'completed') then
    raise exception 'Flow "%" has runs that have not completed and would lack step "%": make a flow of another slug',
      v_flow, v_slug;
  end if;
  if (select max(s.step_index) + 1 >= v_most from pgflow.steps s where s.flow_slug = v_flow) then
    raise exception 'Flow "%" has % steps already: more are not allowed', v_flow, v_most;
  end if;

  perform pgflow._add_step_from_shape(v_flow, step);
  perform pgflow._announce_flow(v_flow);
end
$$;
