-- Pauses a schedule and returns it: nothing of it is fired until resume_schedule. Pausing it again changes nothing.
-- Locks: the schedule.
create or replace function pgflow.pause_schedule(schedule_name text)
returns setof pgflow.schedules
language plpgsql
set search_path to ''
as $$
declare
  v_schedule constant pgflow.schedules := pgflow._hold_schedule(pause_schedule.schedule_name);
begin
  return query
    update pgflow.schedules s set paused_at = coalesce(s.paused_at, now())
     where s.schedule_name = v_schedule.schedule_name
    returning s.*;
end
$$;
