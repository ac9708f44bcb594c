-- Stores a flow and its queue; an existing flow is returned unchanged.
-- Locks: an advisory lock on the lower-cased slug, since two slugs that differ only in case share a queue.
create or replace function pgflow.create_flow(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null
)
returns pgflow.flows
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_slug constant text := create_flow.flow_slug;
  v_twin text;
  v_flow pgflow.flows;
begin
  if pgflow.is_valid_slug(v_slug) then
    perform pg_advisory_xact_lock(hashtext('pgflow.create_flow'), hashtext(lower(v_slug)));
    if length(v_slug) > 47 then
      raise exception 'Flow slug "%" is too long for a queue name: % characters, at most 47 are allowed',
        v_slug, length(v_slug) using errcode = 'check_violation';
    end if;
    select f.flow_slug into v_twin
      from pgflow.flows f where lower(f.flow_slug) = lower(v_slug) and f.flow_slug <> v_slug;
    if found then
      raise exception 'Flow slug "%" differs only in case from flow "%", and both would share one queue: choose another slug',
        v_slug, v_twin using errcode = 'unique_violation';
    end if;
  end if;

  insert into pgflow.flows (flow_slug, opt_max_attempts, opt_base_delay, opt_timeout)
  values (v_slug, coalesce(max_attempts, 3), coalesce(base_delay, 5), coalesce(create_flow.timeout, 60))
  on conflict (flow_slug) do nothing;

  if not pgflow._has_queue(v_slug) then
    perform pgmq.create(v_slug);
  end if;

  select f.* into strict v_flow from pgflow.flows f where f.flow_slug = v_slug;
  return v_flow;
end
$$;
