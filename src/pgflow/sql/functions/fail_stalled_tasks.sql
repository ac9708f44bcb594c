-- Fails tasks that were given up after stalling too often, and their steps by when_exhausted, so that no run
-- hangs. Returns how many were failed. Locks: runs by run_id, their started step states by run and slug, the tasks
-- given up by run, slug and index, then all messages that this may archive.
create or replace function pgflow.fail_stalled_tasks()
returns int
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
declare
  v_run_ids uuid[];
  v_task record;
  v_failed int := 0;
begin
  v_run_ids := array(
    select r.run_id from pgflow.runs r
     where r.status = 'started'
       and r.run_id in (select t.run_id from pgflow.step_tasks t
                         where t.permanently_stalled_at is not null and t.status = 'started')
     order by r.run_id for no key update
  );
  if v_run_ids = '{}' then
    return 0;
  end if;
  perform from pgflow.step_states ss
    where ss.run_id = any (v_run_ids) and ss.status = 'started'
    order by ss.run_id, ss.step_slug for no key update;
  perform from pgflow.step_tasks t
    where t.run_id = any (v_run_ids) and t.permanently_stalled_at is not null and t.status = 'started'
    order by t.run_id, t.step_slug, t.task_index for no key update;
  perform pgflow._lock_open_messages(v_run_ids);

  for v_task in
    select t.run_id, t.step_slug, t.task_index, t.requeued_count
      from pgflow.step_tasks t
     where t.run_id = any (v_run_ids) and t.permanently_stalled_at is not null and t.status = 'started'
     order by t.run_id, t.step_slug, t.task_index
  loop
    -- one may end the step or the run of the next
    if pgflow._is_open(v_task.run_id, v_task.step_slug) then
      perform pgflow._exhaust_task(
        v_task.run_id, v_task.step_slug, v_task.task_index,
        format('Task stalled %s times', v_task.requeued_count));
      v_failed := v_failed + 1;
    end if;
  end loop;
  return v_failed;
end
$$;
