-- Tells the workers of a flow that there is something to fetch, now or soon; once per flow and transaction
-- (PostgreSQL drops repeated notifications of one transaction). Locks nothing before commit.
create or replace function pgflow._wake_workers(p_flow_slug text)
returns void
language sql
set search_path to ''
as $$
  select pgflow._notify('pgflow_work', p_flow_slug)
$$;
