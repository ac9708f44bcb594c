-- What is to be done about each outcome of settle_tasks, and its verdict if nothing is.
-- The verdicts are tested in the documented order. The caller holds runs, step states and tasks.
create or replace function pgflow._judge_outcomes(p_outcomes jsonb)
returns setof pgflow.judged_outcome
language sql
set search_path to ''
as $$
  select o.n, o.run_id, o.step_slug, o.task_index, t.flow_slug, t.message_id,
         case when v.verdict is not null then null
              when o.status = 'released' then 'release'
              when o.status = 'completed' then case when c.starved_map is null then 'complete' else 'violate' end
              when not coalesce(o.permanent, false) and t.attempts_count < opt.max_attempts then 'retry'
              else 'exhaust' end,
         v.verdict, o.error,
         case when o.status = 'released' then 0
              else coalesce(o.retry_in, pgflow.calculate_retry_delay(opt.base_delay, t.attempts_count)) end,
         c.starved_map
    from (
      select x.*, row_number() over (partition by x.run_id, x.step_slug, x.task_index, x.fence order by x.n) as nth
        from rows from (
               jsonb_to_recordset(p_outcomes) as (
                 run_id uuid, step_slug text, task_index int, fence bigint, status text, error text,
                 permanent boolean, retry_in double precision)
             ) with ordinality as x(run_id, step_slug, task_index, fence, status, error, permanent, retry_in, n)
    ) o
    -- look-ups by primary key, whatever the planner knows of the tables: it takes any batch for a hundred outcomes
    left join lateral (
      select x.* from pgflow.step_tasks x
       where x.run_id = o.run_id and x.step_slug = o.step_slug and x.task_index = o.task_index limit 1
    ) t on true
    left join lateral (
      select x.status from pgflow.step_states x where x.run_id = o.run_id and x.step_slug = o.step_slug limit 1
    ) ss on true
    left join lateral (select x.status from pgflow.runs x where x.run_id = o.run_id limit 1) r on true
    left join pgflow._task_options opt on opt.flow_slug = t.flow_slug and opt.step_slug = t.step_slug
   cross join lateral (
     select case when t.run_id is null then 'gone'
                 when o.fence = t.settled_fence then 'duplicate'
                 when o.fence is distinct from t.fence then 'stale'
                 when r.status <> 'started' or ss.status <> 'started' then 'gone'
                 when t.status not in ('queued', 'started') then 'stale'
                 when o.nth > 1 then 'duplicate' end as verdict
   ) v
   cross join lateral (
     select case when v.verdict is null and o.status = 'completed'
                  and jsonb_typeof(p_outcomes -> (o.n - 1)::int -> 'output') is distinct from 'array' and exists (
                   select from pgflow.deps d
                     join pgflow.steps s on s.flow_slug = d.flow_slug and s.step_slug = d.step_slug
                    where d.flow_slug = t.flow_slug and d.dep_slug = t.step_slug and s.step_type = 'map'
                 ) then pgflow._starved_map(o.run_id, o.step_slug, p_outcomes -> (o.n - 1)::int -> 'output')
            end as starved_map
   ) c
   order by o.n
$$;
