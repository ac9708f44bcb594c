-- The slugs of the flows that prune_dynamic_flows would delete. Locks nothing.
create or replace function pgflow.prunable_dynamic_flows(retention_interval interval)
returns setof text
language sql stable
set search_path to ''
as $$
  select f.flow_slug
    from pgflow.flows f
   where f.dynamic_at < now() - prunable_dynamic_flows.retention_interval and pgflow._is_unused(f.flow_slug)
   order by f.flow_slug
$$;
