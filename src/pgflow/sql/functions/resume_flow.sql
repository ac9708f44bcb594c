-- Ends the pause of a flow, returns it and wakes its workers; a flow that is not paused is returned as it is.
-- Locks: the flow's row.
create or replace function pgflow.resume_flow(flow_slug text)
returns setof pgflow.flows
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.flows f set paused_at = null where f.flow_slug = resume_flow.flow_slug and f.paused_at is not null;
  if found then
    perform pgflow._wake_workers(resume_flow.flow_slug);
  end if;
  return query select f.* from pgflow.flows f where f.flow_slug = resume_flow.flow_slug;
  if not found then
    raise exception 'Flow not found: %', resume_flow.flow_slug using errcode = 'foreign_key_violation';
  end if;
end
$$;
