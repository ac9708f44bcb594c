-- Messages that were taken but whose tasks could not be claimed: those whose task can never start again are
-- archived; a task that lapsed is queued again (or given up after three stalls) and its key returned, to be
-- claimed; all others get the time at which they may be asked again.
-- The caller holds the messages; locks tasks by run, step and index, skipping what others hold.
create or replace function pgflow._sort_out_messages(p_flow_slug text, p_keys pgflow.task_key[], p_lease int)
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_dead bigint[];
  v_open pgflow.task_key[];
  v_lapsed pgflow.task_key[] := '{}';
  v_given_up bigint[];
  v_grace timestamptz;
begin
  select coalesce(array_agg(k.msg_id) filter (where w.open is not true), '{}'),
         coalesce(array_agg((k.run_id, k.step_slug, k.task_index, k.msg_id)::pgflow.task_key)
           filter (where w.open), '{}')
    into v_dead, v_open
    from unnest(p_keys) as k
    left join lateral (
      select t.message_id = k.msg_id and t.status in ('queued', 'started') and t.permanently_stalled_at is null
             and ss.status = 'started' and r.status = 'started' as open
        from (select x.message_id, x.status, x.permanently_stalled_at
                from pgflow.step_tasks x
               where x.run_id = k.run_id and x.step_slug = k.step_slug and x.task_index = k.task_index offset 0) t
       cross join lateral (
         select x.status from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
       ) ss
       cross join lateral (select x.status from pgflow.runs x where x.run_id = k.run_id offset 0) r
    ) w on true;
  perform pgflow._archive_messages(p_flow_slug, v_dead);
  if v_open = '{}' then
    return '{}';
  end if;

  if exists (select from unnest(v_open) as k join pgflow._worker_holds l using (run_id, step_slug, task_index)
              where l.at < clock_timestamp()) then
    v_grace := pgflow._note_outage(p_lease);
  end if;
  with lapsed as materialized (
    select t.run_id, t.step_slug, t.task_index, k.msg_id, l.is_stall, l.is_stall and t.requeued_count >= 3 as over
      from unnest(v_open) as k
      join pgflow.step_tasks t
        on t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index
      join pgflow._worker_holds l on l.run_id = t.run_id and l.step_slug = t.step_slug and l.task_index = t.task_index
     where t.status = 'started' and l.at < clock_timestamp() and v_grace < clock_timestamp()
     order by t.run_id, t.step_slug, t.task_index
       for no key update of t skip locked
  ),
  moved as (
    update pgflow.step_tasks t
       set status = case when l.over then t.status else 'queued' end,
           permanently_stalled_at = case when l.over then greatest(now(), t.queued_at) end,
           started_at = case when l.over then t.started_at end,
           leased_until = null,
           requeued_count = t.requeued_count + case when l.is_stall and not l.over then 1 else 0 end,
           last_requeued_at = case when l.is_stall and not l.over then greatest(now(), t.queued_at)
                                else t.last_requeued_at end,
           attempts_count = greatest(t.attempts_count - case when l.is_stall then 0 else 1 end, 0)
      from lapsed l
     where t.run_id = l.run_id and t.step_slug = l.step_slug and t.task_index = l.task_index
    returning l.*
  )
  select coalesce(array_agg((m.run_id, m.step_slug, m.task_index, m.msg_id)::pgflow.task_key)
           filter (where not m.over), '{}'),
         coalesce(array_agg(m.msg_id) filter (where m.over), '{}')
    into v_lapsed, v_given_up
    from moved m;
  perform pgflow._archive_messages(p_flow_slug, v_given_up);

  -- What is held by somebody is asked again when that hold ends; what is merely locked just now, in a moment:
  -- at once would be again and again in this same poll, for as long as the lock lasts.
  perform pgflow._set_visible(p_flow_slug, array_agg(w.msg_id), array_agg(w.at))
     from (
       select k.msg_id, greatest(l.at, v_grace, clock_timestamp() + interval '0.1 s') as at
         from (select * from unnest(v_open) except select * from unnest(v_lapsed)) k
         left join pgflow._worker_holds l using (run_id, step_slug, task_index)
        where k.msg_id <> all (v_given_up)
     ) w
  having count(*) > 0;
  return v_lapsed;
end
$$;
