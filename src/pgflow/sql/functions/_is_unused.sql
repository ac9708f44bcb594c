-- Whether a flow has neither runs nor schedules. Locks nothing.
create or replace function pgflow._is_unused(flow_slug text)
returns boolean
language sql stable
set search_path to ''
as $$
  select not exists (select from pgflow.runs r where r.flow_slug = _is_unused.flow_slug)
     and not exists (select from pgflow.schedules s where s.flow_slug = _is_unused.flow_slug)
$$;
