-- Starts a run for each slot that was not fired yet, and returns these runs; all slots up to done_until are done with
-- then, and next_at is when somebody must look again. A run's idempotency key is `schedule:<name>:<slot>`.
-- Who calls has reckoned this from a row whose done_until was seen_until: if it is another by now, since somebody else
-- was faster, or if the schedule is paused, nothing happens. error_message: why nothing could be started.
-- Locks: the schedule, then as start_flows.
create or replace function pgflow.fire_schedule(
  schedule_name text,
  seen_until timestamptz,
  done_until timestamptz,
  slots timestamptz[],
  next_at timestamptz,
  error_message text default null
)
returns setof pgflow.runs
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
#variable_conflict use_column
declare
  v_kept constant int := 100;
  v_schedule pgflow.schedules;
  v_slots timestamptz[];
begin
  select s.* into v_schedule from pgflow.schedules s
   where s.schedule_name = fire_schedule.schedule_name and s.done_until = fire_schedule.seen_until
     and s.paused_at is null
     for no key update;
  if not found then
    return;
  end if;

  with fired as (
    insert into pgflow.schedule_slots as x (schedule_name, slot)
    select v_schedule.schedule_name, w.slot from unnest(fire_schedule.slots) as w(slot) order by w.slot
    on conflict do nothing
    returning x.slot
  )
  select coalesce(array_agg(f.slot order by f.slot), '{}') into v_slots from fired f;
  if v_slots <> '{}' then
    update pgflow.schedule_slots x set run_id = r.run_id
      from pgflow.start_flows(
             v_schedule.flow_slug,
             array_fill(v_schedule.input, array[cardinality(v_slots)]),
             keys => array(
               select format('schedule:%s:%s', v_schedule.schedule_name,
                             to_char(w.slot at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
                 from unnest(v_slots) with ordinality as w(slot, n) order by w.n
             )
           ) with ordinality as r
     where x.schedule_name = v_schedule.schedule_name and x.slot = v_slots[r.ordinality];
    delete from pgflow.schedule_slots x
     where x.schedule_name = v_schedule.schedule_name
       and x.slot < (select y.slot from pgflow.schedule_slots y where y.schedule_name = v_schedule.schedule_name
                      order by y.slot desc offset v_kept - 1 limit 1);
  end if;

  update pgflow.schedules s
     set done_until = fire_schedule.done_until, next_at = fire_schedule.next_at,
         error_message = case when v_slots = '{}' and fire_schedule.error_message is null then s.error_message
                              else fire_schedule.error_message end
   where s.schedule_name = v_schedule.schedule_name;
  return query
    select r.* from pgflow.schedule_slots x join pgflow.runs r on r.run_id = x.run_id
     where x.schedule_name = v_schedule.schedule_name and x.slot = any (v_slots)
     order by x.slot;
end
$$;
