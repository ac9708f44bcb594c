-- Deletes, with their queues, the flows made as data that nobody uses: not changed for an interval, and without a run
-- (prune_data_older_than deletes old ones) or a schedule. Returns their slugs. Refuses an interval below 0.
-- Locks: their rows, by slug, for update, so that no run is started meanwhile; passes over those that others hold.
create or replace function pgflow.prune_dynamic_flows(retention_interval interval)
returns setof text
language plpgsql
set search_path to ''
as $$
declare
  v_slug text;
begin
  if retention_interval < interval '0' then
    raise exception 'retention_interval must be an age, not %: ''30 days'', say', retention_interval;
  end if;
  for v_slug in
    select f.flow_slug
      from pgflow.flows f
     where f.dynamic_at < now() - retention_interval and pgflow._is_unused(f.flow_slug)
     order by f.flow_slug
       for update of f skip locked
  loop
    -- one that was started, or got a schedule, before we held the flow
    continue when not pgflow._is_unused(v_slug);
    perform pgflow.delete_flow_and_data(v_slug);
    return next v_slug;
  end loop;
end
$$;
