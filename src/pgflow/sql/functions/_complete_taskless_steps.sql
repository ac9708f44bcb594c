-- One wave: completes those of these ready steps that have no tasks. The caller holds the runs and has judged
-- the steps. Gives how many completed, and the dependents that became ready by it.
create or replace function pgflow._complete_taskless_steps(
  p_keys pgflow.step_key[],
  out completed int,
  out ready pgflow.step_key[]
)
language plpgsql
set search_path to ''
as $$
declare
  v_done pgflow.step_key[];
begin
  with done as (
    update pgflow.step_states ss
       set status = 'completed',
           started_at = greatest(now(), ss.created_at),
           completed_at = greatest(now(), ss.created_at),
           remaining_tasks = 0,
           output = case when s.step_type = 'map' then '[]'::jsonb end
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
     ) r
     cross join lateral (
       select x.step_type, x.step_index
         from pgflow.steps x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
     ) s
     where ss.run_id = k.run_id and ss.step_slug = k.step_slug
       and ss.status = 'created' and ss.remaining_deps = 0 and ss.initial_tasks = 0
    returning ss.run_id, ss.step_slug, s.step_index
  )
  select array_agg((d.run_id, d.step_slug)::pgflow.step_key order by d.run_id, d.step_index)
    into v_done from done d;

  completed := coalesce(cardinality(v_done), 0);
  ready := '{}';
  if completed > 0 then
    perform pgflow._emit_steps(v_done, p_taskless => true);
    perform pgflow._count_down_steps(v_done, false);
    ready := (pgflow._release_dependents(v_done, false)).ready;
  end if;
end
$$;
