-- Fails tasks that were given up after stalling too often, and their steps by when_exhausted, so that no run
-- hangs. Returns how many were failed. Locks: the runs by run_id; then step state, task and messages of one after
-- the other, in the order of runs, steps and indexes.
create or replace function pgflow.fail_stalled_tasks()
returns int
language plpgsql
set search_path to ''
as $$
declare
  v_given_up record;
  v_held record;
  v_failed int := 0;
begin
  perform from pgflow.runs r
    where r.status = 'started'
      and r.run_id in (select t.run_id from pgflow.step_tasks t
                        where t.permanently_stalled_at is not null and t.status = 'started')
    order by r.run_id for no key update;
  for v_given_up in
    select t.run_id, t.step_slug, t.task_index, t.requeued_count
      from pgflow.step_tasks t
      join pgflow.step_states ss on ss.run_id = t.run_id and ss.step_slug = t.step_slug
      join pgflow.runs r on r.run_id = t.run_id
     where t.permanently_stalled_at is not null and t.status = 'started'
       and ss.status = 'started' and r.status = 'started'
     order by t.run_id, t.step_slug, t.task_index
  loop
    select * into v_held
      from pgflow._hold_task(v_given_up.run_id, v_given_up.step_slug, v_given_up.task_index);
    if v_held.run_status = 'started' and v_held.step_status = 'started'
       and (v_held.task).status = 'started' and (v_held.task).permanently_stalled_at is not null then
      perform pgflow._exhaust_task(
        v_given_up.run_id, v_given_up.step_slug, v_given_up.task_index,
        format('Task stalled %s times', v_given_up.requeued_count));
      v_failed := v_failed + 1;
    end if;
  end loop;
  return v_failed;
end
$$;
