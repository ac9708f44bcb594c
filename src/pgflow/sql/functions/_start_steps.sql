-- Starts those of these steps that are ready and have tasks, under runs that go on; then tells of them and of those
-- that have started already, and sends their tasks. The caller holds the runs and has judged the steps' conditions.
create or replace function pgflow._start_steps(
  p_keys pgflow.step_key[],
  p_started pgflow.started_step[] default '{}'
)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_started pgflow.started_step[] := p_started;
begin
  if cardinality(p_keys) > 0 then
    with started as (
      update pgflow.step_states ss
         set status = 'started',
             started_at = greatest(now(), ss.created_at),
             remaining_tasks = ss.initial_tasks
        from unnest(p_keys) as k
       cross join lateral (
         select from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
       ) r
       where ss.run_id = k.run_id and ss.step_slug = k.step_slug
         and ss.status = 'created' and ss.remaining_deps = 0 and ss.initial_tasks > 0
      returning ss.flow_slug, ss.run_id, ss.step_slug, ss.initial_tasks
    )
    select v_started || array_agg((s.flow_slug, s.run_id, s.step_slug, s.initial_tasks)::pgflow.started_step)
      into v_started from started s;
  end if;
  if cardinality(v_started) = 0 then
    return;
  end if;

  perform pgflow._emit_steps(array(
    select (s.run_id, s.step_slug)::pgflow.step_key from unnest(v_started) as s order by s.run_id, s.step_slug
  ));
  perform pgflow._send_tasks(w.flow_slug, w.steps)
     from (
       select s.flow_slug, array_agg(s order by s.run_id, s.step_slug) as steps
         from unnest(v_started) as s
        group by s.flow_slug
        order by s.flow_slug
     ) w;
end
$$;
