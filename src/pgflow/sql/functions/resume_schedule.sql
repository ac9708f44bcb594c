-- Resumes a paused schedule and returns it; slots that came while it was paused were not missed, they are skipped.
-- One that is not paused is left alone. Locks: the schedule.
create or replace function pgflow.resume_schedule(schedule_name text)
returns setof pgflow.schedules
language plpgsql
set search_path to ''
as $$
declare
  v_schedule constant pgflow.schedules := pgflow._hold_schedule(resume_schedule.schedule_name);
begin
  update pgflow.schedules s set paused_at = null, done_until = clock_timestamp(), next_at = '-infinity'
   where s.schedule_name = v_schedule.schedule_name and s.paused_at is not null;
  return query select s.* from pgflow.schedules s where s.schedule_name = v_schedule.schedule_name;
end
$$;
