-- Makes the stored flow match a shape, or says how it differs; replaces it only where data may be lost.
-- Locks: an advisory lock per slug (class 1), so that two workers never create or replace at once.
create or replace function pgflow.ensure_flow_compiled(
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
  v_slug constant text := ensure_flow_compiled.flow_slug;
  v_status text;
  v_differences text[] := '{}';
begin
  perform pg_advisory_xact_lock(1, hashtext(v_slug));

  if not exists (select from pgflow.flows f where f.flow_slug = v_slug) then
    perform pgflow._create_flow_from_shape(v_slug, shape);
    v_status := 'compiled';
  else
    v_differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(v_slug));
    if v_differences = '{}' then
      v_status := 'verified';
    elsif pgflow.is_local() or allow_data_loss then
      perform pgflow.delete_flow_and_data(v_slug);
      perform pgflow._create_flow_from_shape(v_slug, shape);
      v_status := 'recompiled';
    else
      v_status := 'mismatch';
    end if;
  end if;
  return jsonb_build_object('status', v_status, 'differences', to_jsonb(v_differences));
end
$$;
