-- Tells of runs that have just entered their present status, in the order given. Locks nothing.
create or replace function pgflow._emit_runs(p_run_ids uuid[], p_with_error boolean default true)
returns void
language plpgsql
set search_path to ''
as $$
begin
  if not pgflow._events_wanted() then
    return;
  end if;
  perform pgflow._tell_watchers(array(select (k.run_id, null)::pgflow.step_key from unnest(p_run_ids) as k(run_id)));
  if not pgflow._has_realtime() then
    return;
  end if;
  perform realtime.send(e.payload, e.payload ->> 'event_type', 'pgflow:run:' || e.run_id, false)
    from (
      select r.run_id,
             jsonb_build_object('event_type', 'run:' || r.status, 'run_id', r.run_id, 'flow_slug', r.flow_slug,
                                'status', r.status)
             || case r.status
                  when 'started' then jsonb_build_object(
                    'input', r.input, 'remaining_steps', r.remaining_steps, 'started_at', r.started_at)
                  when 'completed' then jsonb_build_object('output', r.output, 'completed_at', r.completed_at)
                  else jsonb_build_object('failed_at', r.failed_at)
                    || case when p_with_error then jsonb_build_object('error_message', r.error_message)
                         else '{}' end
                end as payload
        from unnest(p_run_ids) with ordinality as k(run_id, n)
       cross join lateral (select x.* from pgflow.runs x where x.run_id = k.run_id offset 0) r
       order by k.n
    ) e;
end
$$;
