-- Whether a flow has a queue: rows that a caller inserted may have none, and a flow that is null has none either.
-- Locks nothing.
create or replace function pgflow._has_queue(p_flow_slug text)
returns boolean
language sql stable
set search_path to ''
as $$
  select to_regclass('pgmq.' || quote_ident(pgflow._queue_table(p_flow_slug))) is not null
$$;
