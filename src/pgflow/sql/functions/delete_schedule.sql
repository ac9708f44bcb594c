-- Deletes a schedule with the memory of its slots, and returns what it was; its runs stay. Locks: the schedule.
create or replace function pgflow.delete_schedule(schedule_name text)
returns setof pgflow.schedules
language plpgsql
set search_path to ''
as $$
declare
  v_schedule constant pgflow.schedules := pgflow._hold_schedule(delete_schedule.schedule_name);
begin
  delete from pgflow.schedules s where s.schedule_name = v_schedule.schedule_name;
  return next v_schedule;
end
$$;
