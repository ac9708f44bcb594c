-- A schedule, locked; raises if there is none of this name. Locks: its row.
create or replace function pgflow._hold_schedule(p_schedule_name text)
returns pgflow.schedules
language plpgsql
set search_path to ''
as $$
declare
  v_schedule pgflow.schedules;
begin
  select s.* into v_schedule from pgflow.schedules s where s.schedule_name = p_schedule_name for no key update;
  if not found then
    raise exception 'Schedule not found: %', p_schedule_name using errcode = 'no_data_found';
  end if;
  return v_schedule;
end
$$;
