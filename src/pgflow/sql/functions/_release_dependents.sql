-- These steps have just completed, or were skipped alone: their dependents wait for one dependency less, and a
-- map among them learns its length. Returns the dependents that nothing holds back any more.
-- The caller holds the runs.
create or replace function pgflow._release_dependents(p_keys pgflow.step_key[])
returns pgflow.step_key[]
language sql
set search_path to ''
as $$
  with freed as (
    select k.run_id, d.step_slug, count(*) as deps,
           -- a map has one dependency, so this is its length
           max(case when jsonb_typeof(up.output) = 'array' then jsonb_array_length(up.output) else 0 end)
             filter (where s.step_type = 'map') as elements
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug, x.output
         from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
     ) up
     cross join lateral (
       select x.step_slug from pgflow.deps x where x.flow_slug = up.flow_slug and x.dep_slug = k.step_slug offset 0
     ) d
     cross join lateral (
       select x.step_type
         from pgflow.steps x where x.flow_slug = up.flow_slug and x.step_slug = d.step_slug offset 0
     ) s
     group by k.run_id, d.step_slug
  ),
  released as (
    update pgflow.step_states ss
       set remaining_deps = ss.remaining_deps - f.deps,
           initial_tasks = coalesce(ss.initial_tasks, f.elements)
      from freed f
     -- one that was skipped meanwhile keeps its books, too, but is not freed
     where ss.run_id = f.run_id and ss.step_slug = f.step_slug and ss.status in ('created', 'skipped')
    returning ss.run_id, ss.step_slug, ss.remaining_deps, ss.status
  )
  select coalesce(
    array_agg((r.run_id, r.step_slug)::pgflow.step_key order by r.run_id, r.step_slug)
      filter (where r.remaining_deps = 0 and r.status = 'created'), '{}')
    from released r
$$;
