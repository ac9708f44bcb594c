-- Makes the stored flow match a shape that is data, as ensure_flow_compiled does, and marks it as such. Options and
-- handlers, which are no part of a comparison, are brought up to date in a flow that is otherwise the same: the status
-- is then 'updated'. Locks: what ensure_flow_compiled locks, then the flow's row and its steps.
create or replace function pgflow.store_dynamic_flow(
  flow_slug text,
  shape jsonb,
  allow_data_loss boolean default false
)
returns jsonb
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_slug constant text := store_dynamic_flow.flow_slug;
  -- A spec says all there is to say: one without initial_tasks differs from one with them.
  v_shape constant jsonb := jsonb_build_object(
    'options', coalesce(shape -> 'options', '{}'),
    'steps', (select coalesce(jsonb_agg('{"initialTasks": null}' || w.step order by w.n), '[]')
                from jsonb_array_elements(shape -> 'steps') with ordinality as w(step, n))
  );
  v_answer jsonb := pgflow.ensure_flow_compiled(v_slug, v_shape, allow_data_loss);
  v_is_changed boolean;
begin
  if v_answer ->> 'status' = 'mismatch' then
    return v_answer;
  end if;
  if v_answer ->> 'status' = 'verified' then
    v_is_changed := pgflow._update_options(v_slug, v_shape);
    if v_is_changed then
      v_answer := v_answer || '{"status": "updated"}';
    end if;
  end if;
  if v_is_changed is distinct from false
    or exists (select from pgflow.flows f where f.flow_slug = v_slug and f.dynamic_at is null)
  then
    perform pgflow._announce_flow(v_slug);
  end if;
  return v_answer;
end
$$;
