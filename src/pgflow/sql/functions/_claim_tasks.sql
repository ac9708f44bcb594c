-- Starts those of these tasks that are queued, for a worker and until a time (null: without a lease), with all
-- that a handler needs. The claiming update decides between two callers: the loser gets no row.
-- Looks once at what a step's tasks share, and at each task by its primary key.
-- Locks: tasks, skipping what others hold: so their order does not matter.
create or replace function pgflow._claim_tasks(
  p_keys pgflow.task_key[],
  p_worker_id uuid,
  p_leased_until timestamptz
)
returns setof pgflow.claimed_task
language plpgsql
set search_path to ''
as $$
begin
  return query
    with free as materialized (
      select t.ctid, g.step_type, g.is_root, g.max_attempts, g.timeout, g.base_delay
        from (
          select k.run_id, k.step_slug, o.step_type, o.is_root, o.max_attempts, o.timeout, o.base_delay,
                 unnest(k.indexes) as task_index, unnest(k.msg_ids) as msg_id
            from (
              select x.run_id, x.step_slug, array_agg(x.task_index) as indexes, array_agg(x.msg_id) as msg_ids
                from unnest(p_keys) as x
               group by x.run_id, x.step_slug
            ) k
           cross join lateral (
             select x.flow_slug from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
           ) r
           cross join lateral (
             select from pgflow.step_states x
              where x.run_id = k.run_id and x.step_slug = k.step_slug and x.status = 'started' offset 0
           ) ss
           cross join lateral (
             select x.step_type, x.is_root, x.max_attempts, x.timeout, x.base_delay
               from pgflow._task_options x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
           ) o
        ) g
       cross join lateral (
         select x.ctid
           from pgflow.step_tasks x
          where x.run_id = g.run_id and x.step_slug = g.step_slug and x.task_index = g.task_index
            and x.status = 'queued' and x.message_id = g.msg_id
            for no key update skip locked
       ) t
    ),
    claimed as (
      update pgflow.step_tasks t
         set status = 'started',
             attempts_count = t.attempts_count + 1,
             started_at = greatest(now(), t.queued_at),
             last_worker_id = p_worker_id,
             fence = t.fence + 1,
             leased_until = p_leased_until
        from free f
       where t.ctid = f.ctid
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.input, t.fence, t.attempts_count,
                f.step_type, f.is_root, f.max_attempts, f.timeout, f.base_delay
    )
    select c.flow_slug, c.run_id, c.step_slug, c.task_index, c.message_id,
           case when c.step_type = 'single' and c.is_root then '{}'
                when c.step_type = 'single' then
                  (select i.input from pgflow._step_inputs i where i.run_id = c.run_id and i.step_slug = c.step_slug)
                when c.input is not null then c.input
                else pgflow._map_element(c.run_id, c.step_slug, c.task_index) end,
           case when c.step_type = 'single' and c.is_root then
                  (select r.input from pgflow.runs r where r.run_id = c.run_id) end,
           c.fence, c.attempts_count, c.max_attempts, c.timeout, c.base_delay
      from claimed c
     order by c.message_id;
end
$$;
