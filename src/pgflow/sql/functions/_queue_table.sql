-- The name of a flow's queue table in schema pgmq, which lower-cases queue names. Locks nothing.
create or replace function pgflow._queue_table(p_flow_slug text)
returns text
language sql immutable parallel safe
set search_path to ''
as $$
  select 'q_' || lower(p_flow_slug)
$$;
