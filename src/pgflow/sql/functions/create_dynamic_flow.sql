-- Stores a flow without steps, for add_dynamic_step; `options` are a shape's. One that is there with the same options
-- is left alone, so that the call can be repeated; any other of this slug is an error.
-- Locks: an advisory lock per slug (class 1), then what create_flow locks.
create or replace function pgflow.create_dynamic_flow(flow_slug text, options jsonb default '{}')
returns void
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_slug constant text := create_dynamic_flow.flow_slug;
  v_flow pgflow.flows;
begin
  perform pg_advisory_xact_lock(1, hashtext(v_slug));
  select f.* into v_flow from pgflow.flows f where f.flow_slug = v_slug;
  if not found then
    perform pgflow._create_flow_from_shape(v_slug, jsonb_build_object('options', options, 'steps', '[]'::jsonb));
    perform pgflow._announce_flow(v_slug);
  elsif v_flow.dynamic_at is null then
    raise exception 'Flow "%" is there already, and comes from code: choose another slug', v_slug;
  elsif (v_flow.opt_max_attempts, v_flow.opt_base_delay, v_flow.opt_timeout) is distinct from (
    coalesce((options ->> 'maxAttempts')::int, 3),
    coalesce((options ->> 'baseDelay')::int, 5),
    coalesce((options ->> 'timeout')::int, 60)
  ) then
    raise exception 'Flow "%" is there already, with other options: choose another slug, or delete it first', v_slug;
  end if;
end
$$;
