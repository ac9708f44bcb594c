-- The name of a flow's queue table in schema pgmq, which lower-cases queue names. Locks nothing.
-- PL/pgSQL, as whatever is asked several times per call: a function in SQL starts an executor each time.
create or replace function pgflow._queue_table(p_flow_slug text)
returns text
language plpgsql immutable parallel safe
set search_path to ''
as $$
begin
  return 'q_' || lower(p_flow_slug);
end
$$;
