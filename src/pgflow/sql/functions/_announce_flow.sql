-- Notes that a flow was made or changed as data, and tells the workers that serve such flows. The payload is no slug,
-- so that whoever waits for work only passes it over. Locks: the flow's row.
create or replace function pgflow._announce_flow(p_flow_slug text)
returns void
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.flows f set dynamic_at = clock_timestamp() where f.flow_slug = p_flow_slug;
  perform pgflow._notify('pgflow_work', '+' || p_flow_slug);
end
$$;
