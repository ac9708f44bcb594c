-- Makes the schedules that a flow's code declares, [{name, cron, time_zone, input, catch_up}], the only ones of the flow
-- that come from code. One with another cron or time zone begins anew; whether it is paused stays as it is.
-- Schedules made by hand are left alone, and their names refused. Locks: the schedules, by name.
create or replace function pgflow.set_flow_schedules(flow_slug text, schedules jsonb)
returns void
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_slug constant text := set_flow_schedules.flow_slug;
  v_names constant text[] := array(select x ->> 'name' from jsonb_array_elements(set_flow_schedules.schedules) x);
  v_taken pgflow.schedules;
begin
  perform from pgflow.schedules s
    where s.schedule_name = any (v_names) or (s.flow_slug = v_slug and s.origin = 'code')
    order by s.schedule_name for no key update;

  delete from pgflow.schedules s
   where s.flow_slug = v_slug and s.origin = 'code' and s.schedule_name <> all (v_names);
  insert into pgflow.schedules as s (schedule_name, flow_slug, cron, time_zone, input, catch_up, origin)
  select x ->> 'name', v_slug, x ->> 'cron', x ->> 'time_zone', x -> 'input', x ->> 'catch_up', 'code'
    from jsonb_array_elements(set_flow_schedules.schedules) x
   order by x ->> 'name'
  on conflict (schedule_name) do update
    set input = excluded.input, catch_up = excluded.catch_up, cron = excluded.cron, time_zone = excluded.time_zone,
        done_until = case when (s.cron, s.time_zone) = (excluded.cron, excluded.time_zone) then s.done_until
                          else clock_timestamp() end,
        next_at = case when (s.cron, s.time_zone) = (excluded.cron, excluded.time_zone) then s.next_at
                       else '-infinity' end
    -- a name that is taken already, or was a moment ago, is not ours to change: see below
    where s.flow_slug = excluded.flow_slug and s.origin = 'code' and (s.input, s.catch_up, s.cron, s.time_zone)
          is distinct from (excluded.input, excluded.catch_up, excluded.cron, excluded.time_zone);

  select s.* into v_taken from pgflow.schedules s
   where s.schedule_name = any (v_names) and (s.flow_slug <> v_slug or s.origin <> 'code')
   order by s.schedule_name limit 1;
  if found then
    raise exception 'Schedule % is there already (of flow %, made by %): give the one in the code of flow % another name',
      v_taken.schedule_name, v_taken.flow_slug, case v_taken.origin when 'code' then 'its code' else 'hand' end, v_slug;
  end if;
end
$$;
