-- What is to be done about each outcome of settle_tasks, and its verdict if nothing is.
-- The verdicts are tested in the documented order. `p_given` holds the outputs.
-- Looks once at what a step's tasks share, and at each task by its primary key, whatever the planner knows of the
-- tables: it takes any array for a hundred rows.
-- The caller holds runs and step states. Locks: tasks by run, slug and index.
create or replace function pgflow._judge_outcomes(p_outcomes pgflow.outcome[], p_given jsonb)
returns setof pgflow.judged_outcome
language plpgsql
set search_path to ''
as $$
begin
  return query
    select o.n, o.run_id, o.step_slug, o.task_index, t.flow_slug, t.message_id,
           case when v.verdict is not null then null
                when o.status = 'released' then 'release'
                when o.status = 'completed' then case when c.starved_map is null then 'complete' else 'violate' end
                when not coalesce(o.permanent, false) and t.attempts_count < g.max_attempts then 'retry'
                else 'exhaust' end,
           v.verdict, o.error,
           case o.status when 'released' then 0
                when 'failed' then
                  coalesce(o.retry_in, pgflow.calculate_retry_delay(g.base_delay, t.attempts_count)) end,
           c.starved_map
      from (
        select k.run_id, k.step_slug, k.outcomes, w.flow_slug is not null as open, w.feeds_map,
               opt.max_attempts, opt.base_delay
          from (
            select x.run_id, x.step_slug, array_agg(x order by x.task_index, x.n) as outcomes
              from unnest(p_outcomes) as x
             group by x.run_id, x.step_slug
             order by x.run_id, x.step_slug
          ) k
          left join lateral (
            select x.flow_slug, x.feeds_map
              from pgflow._open_steps x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
          ) w on true
          left join lateral (
            select x.max_attempts, x.base_delay
              from pgflow._task_options x where x.flow_slug = w.flow_slug and x.step_slug = k.step_slug offset 0
          ) opt on true
      ) g
     cross join lateral unnest(g.outcomes) as o
      left join lateral (
        select x.flow_slug, x.message_id, x.fence, x.settled_fence, x.status, x.attempts_count
          from pgflow.step_tasks x
         where x.run_id = o.run_id and x.step_slug = o.step_slug and x.task_index = o.task_index
           for no key update
      ) t on true
     cross join lateral (
       select case when g.feeds_map and o.status = 'completed'
                   then pgflow._starved_map(o.run_id, o.step_slug, p_given -> (o.n - 1) -> 'output')
              end as starved_map
     ) c
     cross join lateral (
       select case when o.nth > 1 or o.fence = t.settled_fence then 'duplicate'
                   when t.fence is null then 'gone'
                   when o.fence is distinct from t.fence then 'stale'
                   when not g.open then 'gone'
                   when t.status not in ('queued', 'started') then 'stale' end as verdict
     ) v;
end
$$;
