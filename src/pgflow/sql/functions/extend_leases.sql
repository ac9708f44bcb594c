-- The heartbeat of a worker (its row is put back if it was pruned) and of the tasks it holds. `held` is an array of
-- {run_id, step_slug, task_index, fence}. Leases end with the task's timeout + 2 s at the latest. Returns those
-- that are no longer the worker's; what is locked is being settled or claimed right now and is passed over.
-- Locks: tasks by run, step and index, then messages by msg_id, skipping what others hold; never waits for a lock.
create or replace function pgflow.extend_leases(worker_id uuid, held jsonb, lease int)
returns table (run_id uuid, step_slug text, task_index int, fence bigint)
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
  v_extended record;
begin
  perform pgflow._note_outage(extend_leases.lease);
  insert into pgflow.workers (worker_id, queue_name, function_name, lease)
  values (extend_leases.worker_id, '', 'pgflow', extend_leases.lease)
  on conflict (worker_id) do update set last_heartbeat_at = now(), lease = excluded.lease;

  for v_extended in
    with mine as materialized (
      select t.run_id, t.step_slug, t.task_index, o.timeout
        from jsonb_to_recordset(held) as h(run_id uuid, step_slug text, task_index int, fence bigint)
        join pgflow.step_tasks t
          on t.run_id = h.run_id and t.step_slug = h.step_slug and t.task_index = h.task_index
        join pgflow._task_options o on o.flow_slug = t.flow_slug and o.step_slug = t.step_slug
       where t.fence = h.fence and t.status = 'started' and t.last_worker_id = extend_leases.worker_id
       order by t.run_id, t.step_slug, t.task_index
         for no key update of t skip locked
    ),
    extended as (
      update pgflow.step_tasks t
         set leased_until = greatest(t.leased_until, least(
               clock_timestamp() + make_interval(secs => extend_leases.lease),
               t.started_at + make_interval(secs => m.timeout + 2)))
        from mine m
       where t.run_id = m.run_id and t.step_slug = m.step_slug and t.task_index = m.task_index
      returning t.flow_slug, t.message_id, t.leased_until
    )
    select e.flow_slug, array_agg(e.message_id) as msg_ids, array_agg(e.leased_until) as ats
      from extended e group by e.flow_slug order by e.flow_slug
  loop
    perform pgflow._set_visible(v_extended.flow_slug, v_extended.msg_ids, v_extended.ats, p_skip_locked => true);
  end loop;

  return query
    select h.run_id, h.step_slug, h.task_index, h.fence
      from jsonb_to_recordset(held) as h(run_id uuid, step_slug text, task_index int, fence bigint)
     -- a look-up by primary key in each table, whatever the planner knows of them
     where (
       select t.fence = h.fence and t.status = 'started' and t.last_worker_id = extend_leases.worker_id
         from pgflow.step_tasks t
        where t.run_id = h.run_id and t.step_slug = h.step_slug and t.task_index = h.task_index
     ) is not true or not pgflow._is_open(h.run_id, h.step_slug);
end
$$;
