-- What to say of an input that should have been an array. Locks nothing.
create or replace function pgflow._no_array(p_flow_slug text, p_input jsonb)
returns text
language sql immutable
set search_path to ''
as $$
  select format('Flow %s has root map steps but input is %s', p_flow_slug,
                coalesce('not an array (got ' || jsonb_typeof(p_input) || ')', 'NULL'))
$$;
