-- Pauses a flow and returns it: none of its tasks is claimed until resume_flow; what runs goes on, and runs may be
-- started. (A poll that is under way just now may still claim.) Pausing it again changes nothing.
-- Locks: the flow's row.
create or replace function pgflow.pause_flow(flow_slug text)
returns setof pgflow.flows
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.flows f set paused_at = now() where f.flow_slug = pause_flow.flow_slug and f.paused_at is null;
  return query select f.* from pgflow.flows f where f.flow_slug = pause_flow.flow_slug;
  if not found then
    raise exception 'Flow not found: %', pause_flow.flow_slug using errcode = 'foreign_key_violation';
  end if;
end
$$;
