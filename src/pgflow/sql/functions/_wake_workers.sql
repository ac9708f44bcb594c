-- Tells the workers of a flow that there is something to fetch, now or soon; once per flow and transaction
-- (PostgreSQL drops repeated notifications of one transaction). Locks nothing before commit.
-- Where it may wait, settle_and_poll keeps the flow in mind, to tell only of what its own worker does not fetch: a
-- notification wakes all workers of a flow, and whoever notifies commits one after the other.
create or replace function pgflow._wake_workers(p_flow_slug text, p_may_wait boolean default false)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_put_off constant text := case when p_may_wait then current_setting('pgflow.to_wake', true) end;
begin
  if v_put_off <> '' then
    perform set_config('pgflow.to_wake', (v_put_off::text[] || p_flow_slug)::text, true);
  else
    perform pgflow._notify('pgflow_work', p_flow_slug);
  end if;
end
$$;
