-- All flows by slug, with what goes on in each: runs that have not ended, workers alive, messages in its queue.
-- A worker is alive while its heartbeat is younger than its lease (30 s for other implementations' workers).
-- Locks nothing.
create or replace function pgflow.list_flows()
returns table (
  flow_slug text,
  steps int,
  is_dynamic boolean,
  is_paused boolean,
  unfinished_runs int,
  workers int,
  queued int,
  created_at timestamptz
)
language sql
set search_path to ''
as $$
  with unfinished as (
    -- through the steps under way: runs have no index by status, and every run that goes on has such a step
    select r.flow_slug, count(distinct r.run_id) as runs
      from pgflow.step_states ss
      join pgflow.runs r on r.run_id = ss.run_id and r.status = 'started'
     where ss.status = 'started'
     group by r.flow_slug
  ),
  alive as (
    select q.slug as flow_slug, count(*) as workers
      from pgflow.workers w
     cross join lateral unnest(string_to_array(w.queue_name, ',')) as q(slug)
     where w.stopped_at is null
       and w.last_heartbeat_at > clock_timestamp() - make_interval(secs => coalesce(w.lease, 30))
     group by q.slug
  )
  select f.flow_slug,
         (select count(*) from pgflow.steps s where s.flow_slug = f.flow_slug)::int,
         f.dynamic_at is not null,
         f.paused_at is not null,
         coalesce(u.runs, 0)::int,
         coalesce(a.workers, 0)::int,
         pgflow._queue_depth(f.flow_slug),
         f.created_at
    from pgflow.flows f
    left join unfinished u on u.flow_slug = f.flow_slug
    left join alive a on a.flow_slug = f.flow_slug
   order by f.flow_slug
$$;
