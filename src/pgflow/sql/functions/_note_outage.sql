-- Until when no task may be judged lapsed: for one lease after the server's start, and after a silence of all
-- workers (then the database was away, not they) for the longest lease. A silence is noted once.
-- Locks: the one row of outage, only where it is noted; whoever holds it waits for nobody.
create or replace function pgflow._note_outage(p_lease int)
returns timestamptz
language plpgsql
set search_path to ''
as $$
declare
  v_heard timestamptz;
  v_longest int;
  v_grace timestamptz;
begin
  select max(w.last_heartbeat_at), max(w.lease) into v_heard, v_longest
    from pgflow.workers w where w.lease is not null;
  if v_heard < clock_timestamp() - make_interval(secs => p_lease) then
    update pgflow.outage o
       set grace_until = clock_timestamp() + make_interval(secs => greatest(v_longest, p_lease))
     where o.only_row and o.grace_until < v_heard;
  end if;
  select o.grace_until into v_grace from pgflow.outage o;
  return greatest(v_grace, pg_postmaster_start_time() + make_interval(secs => p_lease));
end
$$;
