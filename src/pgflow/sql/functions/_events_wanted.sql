-- Whether anybody is told of changes: only Supabase's realtime so far. Locks nothing.
create or replace function pgflow._events_wanted()
returns boolean
language sql stable
set search_path to ''
as $$
  select to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null
$$;
