-- Until when no task may be judged lapsed: for one lease after the server's start, and after a silence of all
-- workers (then the database was away, not they) for the longest lease of those that it cut off. A worker is silent
-- when it was not heard of for half its lease: it beats each third, and what it holds is good for more than half.
-- A silence is noted once. Without a lease of the caller's own the longest counts.
-- Locks: the one row of outage, only where it is noted, and never waits for it: who holds it is noting the same.
create or replace function pgflow._note_outage(p_lease int)
returns timestamptz
language plpgsql
set search_path to ''
as $$
declare
  v_heard timestamptz;
  v_all_silent boolean;
  v_longest int;
  v_grace timestamptz;
  v_noted_at timestamptz;
begin
  select h.heard,
         bool_and(w.last_heartbeat_at < clock_timestamp() - make_interval(secs => w.lease / 2.0))
           filter (where w.stopped_at is null),
         max(w.lease) filter (where w.stopped_at is null
                                and w.last_heartbeat_at >= h.heard - make_interval(secs => w.lease))
    into v_heard, v_all_silent, v_longest
    from pgflow.workers w
   cross join (select max(x.last_heartbeat_at) as heard from pgflow.workers x where x.lease is not null) h
   where w.lease is not null
   group by h.heard;
  -- what lies minutes further ahead than any grace was noted by a clock that has been set back since
  select case when o.grace_until <= clock_timestamp() + make_interval(secs => greatest(v_longest, p_lease) + 300)
              then o.grace_until else '-infinity' end,
         case when o.noted_at <= clock_timestamp() then o.noted_at end
    into v_grace, v_noted_at
    from pgflow.outage o;
  if v_all_silent and (v_noted_at > v_heard) is not true then
    v_grace := clock_timestamp() + make_interval(secs => greatest(v_longest, p_lease));
    update pgflow.outage o set grace_until = v_grace, noted_at = now()
     where o.only_row in (select free.only_row from pgflow.outage free for no key update skip locked);
  end if;
  return greatest(v_grace, pg_postmaster_start_time() + make_interval(secs => coalesce(p_lease, v_longest)));
end
$$;
