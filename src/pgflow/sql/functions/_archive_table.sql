-- The name of the table in schema pgmq that a flow's archived messages are in. Locks nothing.
create or replace function pgflow._archive_table(p_flow_slug text)
returns text
language sql immutable parallel safe
set search_path to ''
as $$
  select 'a_' || lower(p_flow_slug)
$$;
