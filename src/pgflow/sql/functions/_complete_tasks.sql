-- Stores the outputs of completed tasks (by their place in `p_outcomes`), and everything that follows.
-- The caller holds runs, step states and tasks; locks messages.
create or replace function pgflow._complete_tasks(
  p_worker_id uuid,
  p_judged pgflow.judged_outcome[],
  p_outcomes jsonb
)
returns void
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.step_tasks t
     set status = 'completed',
         output = p_outcomes -> (j.n - 1) -> 'output',
         completed_at = greatest(now(), t.queued_at, t.started_at),
         leased_until = null,
         settled_fence = t.fence,
         last_worker_id = p_worker_id
    from unnest(p_judged) as j
   where t.run_id = j.run_id and t.step_slug = j.step_slug and t.task_index = j.task_index;
  perform pgflow._archive_messages(w.flow_slug, w.msg_ids)
     from (
       select j.flow_slug, array_agg(j.msg_id) as msg_ids
         from unnest(p_judged) as j
        group by j.flow_slug
        order by j.flow_slug
     ) w;
  perform pgflow._count_down_tasks(array(
    select (j.run_id, j.step_slug)::pgflow.step_key from unnest(p_judged) as j
  ));
end
$$;
