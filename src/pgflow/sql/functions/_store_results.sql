-- Completes the tasks whose outputs are at these places of the outcomes, as far as nothing speaks against it (a fence,
-- a step that has ended, an output that is no array though a map waits for it): one update, and nothing that follows
-- from it. Returns what was stored, a row per flow; what was not has yet to be judged.
-- Looks once at what a step's tasks share, and at each task by its primary key.
-- The caller holds runs and step states. Locks: tasks, in no order: who waits for a task holds its run.
create or replace function pgflow._store_results(
  p_worker_id uuid,
  p_results pgflow.step_results[],
  p_outcomes jsonb
)
returns setof pgflow.stored_results
language plpgsql
set search_path to ''
as $$
begin
  return query
    with stored as (
      update pgflow.step_tasks t
         set status = 'completed',
             output = p_outcomes -> (o.n - 1) -> 'output',
             completed_at = greatest(now(), t.queued_at, t.started_at),
             leased_until = null,
             settled_fence = t.fence,
             last_worker_id = p_worker_id
        from (
          select k.run_id, k.step_slug, w.feeds_map,
                 unnest(k.places) as n, unnest(k.indexes) as task_index, unnest(k.fences) as fence
            from unnest(p_results) as k
           cross join lateral (
             select x.flow_slug from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
           ) r
           cross join lateral (
             select from pgflow.step_states x
              where x.run_id = k.run_id and x.step_slug = k.step_slug and x.status = 'started' offset 0
           ) ss
           cross join lateral (
             select x.feeds_map
               from pgflow._defined_steps x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
           ) w
          offset 0
        ) o
       where t.run_id = o.run_id and t.step_slug = o.step_slug and t.task_index = o.task_index
         and t.fence = o.fence and t.settled_fence <> o.fence and t.status in ('queued', 'started')
         and (not o.feeds_map
              or pgflow._starved_map(o.run_id, o.step_slug, p_outcomes -> (o.n - 1) -> 'output') is null)
      returning t.flow_slug, t.message_id, t.run_id, t.step_slug, o.n
    )
    select s.flow_slug, array_agg(s.n), array_agg(s.message_id),
           array_agg((s.run_id, s.step_slug)::pgflow.step_key)
      from stored s
     group by s.flow_slug;
end
$$;
