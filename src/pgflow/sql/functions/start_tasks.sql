-- Starts the queued tasks of these messages for a worker of any kind; without a lease: their messages stay
-- hidden for the whole timeout. Of a paused flow nothing is started.
-- Locks: tasks by run, step and index; then messages by msg_id.
create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
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
  v_claimed pgflow.claimed_task[];
begin
  -- An unknown flow has no queue, and so no tasks.
  if coalesce(cardinality(msg_ids), 0) = 0
     or not pgflow._has_queue(start_tasks.flow_slug)
     or exists (select from pgflow.flows f where f.flow_slug = start_tasks.flow_slug and f.paused_at is not null) then
    return;
  end if;
  v_claimed := array(
    select c from pgflow._claim_tasks(
      pgflow._tasks_with(start_tasks.flow_slug, msg_ids), start_tasks.worker_id, null) c
  );
  perform pgflow.set_vt_batch(
    start_tasks.flow_slug,
    array(select c.msg_id from unnest(v_claimed) with ordinality as c order by c.ordinality),
    array(select c.timeout + 2 from unnest(v_claimed) with ordinality as c order by c.ordinality)
  );
  return query
    select c.flow_slug, c.run_id, c.step_slug, c.input, c.msg_id, c.task_index, c.flow_input
      from unnest(v_claimed) as c;
end
$$;
