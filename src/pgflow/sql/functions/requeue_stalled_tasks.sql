-- Puts tasks that were started longer ago than their timeout + 30 s back into their queues, three times each;
-- then they are given up. Returns how many were put back. A leased task is left alone while the database's
-- own absence is forgiven. A message that is gone under a run that goes on is sent anew.
-- Locks: tasks by run, step and index, skipping what others hold; then messages.
create or replace function pgflow.requeue_stalled_tasks()
returns int
language plpgsql
security definer
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
#variable_conflict use_column
declare
  v_in_grace constant boolean := clock_timestamp() < pgflow._note_outage(null);
  v_requeued int := 0;
  v_flow record;
begin
  for v_flow in
    with stalled as materialized (
      select t.run_id, t.step_slug, t.task_index, t.requeued_count >= 3 as over
        from pgflow.step_states ss
        join pgflow._task_options o on o.flow_slug = ss.flow_slug and o.step_slug = ss.step_slug
        join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
       where ss.status = 'started' and t.status = 'started' and t.permanently_stalled_at is null
         and t.started_at < now() - make_interval(secs => o.timeout + 30)
         and not (v_in_grace and t.leased_until is not null)
       order by t.run_id, t.step_slug, t.task_index
         for no key update of t skip locked
    ),
    moved as (
      update pgflow.step_tasks t
         set status = case when s.over then t.status else 'queued' end,
             started_at = case when s.over then t.started_at end,
             last_worker_id = case when s.over then t.last_worker_id end,
             leased_until = null,
             requeued_count = t.requeued_count + case when s.over then 0 else 1 end,
             last_requeued_at = case when s.over then t.last_requeued_at else greatest(now(), t.queued_at) end,
             permanently_stalled_at = case when s.over then greatest(now(), t.queued_at) end
        from stalled s
       where t.run_id = s.run_id and t.step_slug = s.step_slug and t.task_index = s.task_index
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, s.over
    )
    select m.flow_slug,
           coalesce(array_agg(m.message_id) filter (where m.over), '{}') as given_up,
           coalesce(array_agg((m.run_id, m.step_slug, m.task_index, m.message_id)::pgflow.task_key)
             filter (where not m.over), '{}') as requeued
      from moved m
     group by m.flow_slug
     order by m.flow_slug
  loop
    v_requeued := v_requeued + cardinality(v_flow.requeued);
    continue when not pgflow._has_queue(v_flow.flow_slug);
    perform pgflow._lock_messages(
      v_flow.flow_slug, v_flow.given_up || array(select k.msg_id from unnest(v_flow.requeued) as k));
    perform pgflow._archive_messages(v_flow.flow_slug, array_remove(v_flow.given_up, null));
    if v_flow.requeued <> '{}' then
      perform pgflow._show_again(
        v_flow.flow_slug, v_flow.requeued,
        array_fill(clock_timestamp(), array[cardinality(v_flow.requeued)]));
    end if;
  end loop;
  return v_requeued;
end
$$;
