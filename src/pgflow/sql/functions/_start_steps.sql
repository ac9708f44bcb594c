-- Starts those of these steps that are ready and have tasks, under runs that go on.
-- The caller holds the runs and has judged the steps' conditions.
create or replace function pgflow._start_steps(p_keys pgflow.step_key[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_started pgflow.step_key[];
begin
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
    returning ss.run_id, ss.step_slug
  )
  select array_agg((s.run_id, s.step_slug)::pgflow.step_key order by s.run_id, s.step_slug)
    into v_started from started s;
  if v_started is null then
    return;
  end if;

  perform pgflow._emit_steps(v_started);
  perform pgflow._send_tasks(w.flow_slug, w.keys)
     from (
       select ss.flow_slug, array_agg(k order by k.run_id, k.step_slug) as keys
         from unnest(v_started) as k
        cross join lateral (select x.flow_slug from pgflow.runs x where x.run_id = k.run_id offset 0) ss
        group by ss.flow_slug
        order by ss.flow_slug
     ) w;
end
$$;
