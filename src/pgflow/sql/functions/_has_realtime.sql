-- Whether this is a database of Supabase's, whose realtime is told of every change. Locks nothing.
create or replace function pgflow._has_realtime()
returns boolean
language plpgsql stable
set search_path to ''
as $$
begin
  return to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null;
end
$$;
