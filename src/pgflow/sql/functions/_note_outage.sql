-- Until when no task may be judged lapsed: for one lease after the server's start, and after a silence of all
-- workers (then the database was away, not they) for the longest lease. A silence is noted once.
-- Locks: the one row of outage, only where it is noted, and never waits for it: who holds it is noting the same.
create or replace function pgflow._note_outage(p_lease int)
returns timestamptz
language plpgsql
set search_path to ''
as $$
declare
  v_heard timestamptz;
  v_longest int;
  v_noted timestamptz;
  v_grace timestamptz;
begin
  select max(w.last_heartbeat_at), max(w.lease) into v_heard, v_longest
    from pgflow.workers w where w.lease is not null;
  -- what lies minutes further ahead than any grace was noted by a clock that has been set back since
  select case when o.grace_until <= clock_timestamp() + make_interval(secs => greatest(v_longest, p_lease) + 300)
              then o.grace_until else '-infinity' end
    into v_noted from pgflow.outage o;
  if v_heard < clock_timestamp() - make_interval(secs => p_lease) and v_noted < v_heard then
    v_grace := clock_timestamp() + make_interval(secs => greatest(v_longest, p_lease));
    update pgflow.outage o set grace_until = v_grace
     where o.only_row in (select free.only_row from pgflow.outage free for no key update skip locked);
  end if;
  return greatest(v_noted, v_grace, pg_postmaster_start_time() + make_interval(secs => p_lease));
end
$$;
