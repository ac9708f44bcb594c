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
         permanently_stalled_at = null,
         settled_fence = t.fence,
         -- what was not worked on has not used up an attempt
         attempts_count = greatest(t.attempts_count - case when j.action = 'release' then 1 else 0 end, 0),
         error_message = case when j.action = 'retry' then j.error else t.error_message end
    from unnest(p_judged) as j
   where t.run_id = j.run_id and t.step_slug = j.step_slug and t.task_index = j.task_index;
  perform pgflow._show_again(w.flow_slug, w.keys, w.ats)
     from (
       select j.flow_slug,
              array_agg((j.run_id, j.step_slug, j.task_index, j.msg_id)::pgflow.task_key) as keys,
              array_agg(clock_timestamp() + make_interval(secs => j.visible_in)) as ats
         from unnest(p_judged) as j
        group by j.flow_slug
        order by j.flow_slug
     ) w;
end
$$;
