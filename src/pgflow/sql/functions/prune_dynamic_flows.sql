-- Deletes, with their queues, the flows made as data that nobody uses: not changed for an interval, and without a run
-- (prune_data_older_than deletes old ones). Returns their slugs.
-- Locks: their rows, by slug, for update, so that no run is started meanwhile; passes over those that others hold.
create or replace function pgflow.prune_dynamic_flows(retention_interval interval)
returns setof text
language plpgsql
set search_path to ''
as $$
declare
  v_slug text;
begin
  for v_slug in
    select f.flow_slug
      from pgflow.flows f
     where f.dynamic_at < now() - retention_interval
       and not exists (select from pgflow.runs r where r.flow_slug = f.flow_slug)
     order by f.flow_slug
       for update of f skip locked
  loop
    -- one that was started before we held the flow
    continue when exists (select from pgflow.runs r where r.flow_slug = v_slug);
    perform pgflow.delete_flow_and_data(v_slug);
    return next v_slug;
  end loop;
end
$$;
