-- Tasks that were handed back, or failed and have attempts left, wait in their queue again; their workers are woken.
-- The caller holds runs, step states and tasks; locks messages.
create or replace function pgflow._put_back(p_judged pgflow.judged_outcome[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.step_tasks t
     set status = 'queued',
         started_at = null,
         leased_until = null,
         settled_fence = t.fence,
         -- what was not worked on has not used up an attempt
         attempts_count = greatest(t.attempts_count - case when j.action = 'release' then 1 else 0 end, 0),
         error_message = case when j.action = 'retry' then j.error else t.error_message end
    from unnest(p_judged) as j
   where t.run_id = j.run_id and t.step_slug = j.step_slug and t.task_index = j.task_index;
  perform pgflow._set_visible(w.flow_slug, w.msg_ids, w.ats), pgflow._wake_workers(w.flow_slug)
     from (
       select j.flow_slug, array_agg(j.msg_id) as msg_ids,
              array_agg(clock_timestamp() + make_interval(secs => j.visible_in)) as ats
         from unnest(p_judged) as j
        group by j.flow_slug
        order by j.flow_slug
     ) w;
end
$$;
