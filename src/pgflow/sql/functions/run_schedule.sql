-- Starts a run as the schedule would, now and beside its slots, paused or not; returns it. Locks: the schedule.
create or replace function pgflow.run_schedule(schedule_name text)
returns setof pgflow.runs
language plpgsql
set search_path to ''
as $$
declare
  v_schedule constant pgflow.schedules := pgflow._hold_schedule(run_schedule.schedule_name);
begin
  return query select r.* from pgflow.start_flows(v_schedule.flow_slug, array[v_schedule.input]) r;
end
$$;
