-- These steps have just completed, or were skipped alone: their dependents wait for one dependency less, and a
-- map among them learns its length. Gives those that nothing holds back any more: as `ready` those to be judged
-- first; as `started`, if that is allowed, those of runs where there is nothing to judge, which start by the same update
-- (they have tasks and no conditions, and so have all others of their run that are freed now).
-- The caller holds the runs, which go on.
create or replace function pgflow._release_dependents(
  p_keys pgflow.step_key[],
  p_may_start boolean,
  out ready pgflow.step_key[],
  out started pgflow.started_step[]
)
language plpgsql
set search_path to ''
as $$
begin
  with freed as (
    select k.run_id, d.step_slug, count(*) as deps, bool_and(s.is_unconditional) as is_unconditional,
           -- a map has one dependency, so this is its length, unless it is known
           max(case when jsonb_typeof(up.output) = 'array' then jsonb_array_length(up.output) else 0 end)
             filter (where s.step_type = 'map') as elements,
           bool_or(s.step_type = 'map' and (up.status = 'skipped' or up.initial_tasks = 0)) as is_emptied
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug, x.status, x.initial_tasks, x.output
         from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
     ) up
     cross join lateral (
       select x.step_slug from pgflow.deps x where x.flow_slug = up.flow_slug and x.dep_slug = k.step_slug offset 0
     ) d
     cross join lateral (
       select x.step_type, x.is_unconditional
         from pgflow._defined_steps x where x.flow_slug = up.flow_slug and x.step_slug = d.step_slug offset 0
     ) s
     group by k.run_id, d.step_slug
  ),
  weighed as (
    select f.run_id, f.step_slug, f.deps, w.tasks,
           p_may_start and w.is_free and bool_and(not w.is_free or w.is_free_to_start) over (partition by f.run_id)
             as starts
      from freed f
     cross join lateral (
       select y.is_free, f.is_unconditional and y.tasks > 0 as is_free_to_start, y.tasks
         from (
           select x.status = 'created' and x.remaining_deps = f.deps as is_free,
                  case when f.is_emptied then 0 else coalesce(x.initial_tasks, f.elements) end as tasks
             from pgflow.step_states x where x.run_id = f.run_id and x.step_slug = f.step_slug offset 0
         ) y
     ) w
  ),
  released as (
    update pgflow.step_states ss
       set remaining_deps = ss.remaining_deps - f.deps,
           initial_tasks = f.tasks,
           status = case when f.starts then 'started' else ss.status end,
           started_at = case when f.starts then greatest(now(), ss.created_at) else ss.started_at end,
           remaining_tasks = case when f.starts then f.tasks else ss.remaining_tasks end
      from weighed f
     -- one that was skipped meanwhile keeps its books, too, but is not freed
     where ss.run_id = f.run_id and ss.step_slug = f.step_slug and ss.status in ('created', 'skipped')
    returning ss.flow_slug, ss.run_id, ss.step_slug, ss.status, ss.remaining_deps, ss.initial_tasks
  )
  select coalesce(
           array_agg((r.run_id, r.step_slug)::pgflow.step_key order by r.run_id, r.step_slug)
             filter (where r.status = 'created' and r.remaining_deps = 0), '{}'),
         coalesce(
           array_agg((r.flow_slug, r.run_id, r.step_slug, r.initial_tasks)::pgflow.started_step)
             filter (where r.status = 'started'), '{}')
    into ready, started
    from released r;
end
$$;
