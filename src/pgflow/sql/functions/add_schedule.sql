-- Makes a schedule by hand and returns it; its first slot is the first after now. Nothing here understands cron:
-- who calls has checked the expression and the time zone. Locks nothing but what it makes.
create or replace function pgflow.add_schedule(
  schedule_name text,
  flow_slug text,
  cron text,
  time_zone text default 'UTC',
  input jsonb default 'null',
  catch_up text default 'last'
)
returns setof pgflow.schedules
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
begin
  if pgflow._takes_array(add_schedule.flow_slug) and jsonb_typeof(add_schedule.input) <> 'array' then
    raise exception '%', pgflow._no_array(add_schedule.flow_slug, add_schedule.input);
  end if;
  return query
    insert into pgflow.schedules as s (schedule_name, flow_slug, cron, time_zone, input, catch_up)
    values (add_schedule.schedule_name, add_schedule.flow_slug, add_schedule.cron, add_schedule.time_zone,
            add_schedule.input, add_schedule.catch_up)
    on conflict do nothing
    returning s.*;
  if not found then
    raise exception 'Schedule % is there already: delete it first, or choose another name', add_schedule.schedule_name;
  end if;
end
$$;
