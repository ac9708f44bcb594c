-- Whether anybody is told of changes: Supabase's realtime, or who watches. Asked once per statement that changes
-- something, hence plpgsql, which keeps the plan; pgflow.watches is empty while nobody watches. Locks nothing.
create or replace function pgflow._events_wanted()
returns boolean
language plpgsql stable
set search_path to ''
as $$
begin
  return exists (select from pgflow.watches w where w.until > now())
      or pgflow._has_realtime();
end
$$;
