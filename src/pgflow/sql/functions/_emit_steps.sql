-- Tells of step states that have just entered their present status, in the order given. Locks nothing.
-- p_taskless: they completed without ever having started.
create or replace function pgflow._emit_steps(p_keys pgflow.step_key[], p_taskless boolean default false)
returns void
language plpgsql
set search_path to ''
as $$
begin
  if not pgflow._events_wanted() then
    return;
  end if;
  perform pgflow._tell_watchers(p_keys);
  if not pgflow._has_realtime() then
    return;
  end if;
  perform realtime.send(
            e.payload, format('step:%s:%s', e.step_slug, e.status), 'pgflow:run:' || e.run_id, false)
    from (
      select ss.run_id, ss.step_slug, ss.status,
             jsonb_build_object('event_type', 'step:' || ss.status, 'run_id', ss.run_id,
                                'step_slug', ss.step_slug, 'status', ss.status)
             || case ss.status
                  when 'started' then jsonb_build_object(
                    'started_at', ss.started_at, 'remaining_tasks', ss.remaining_tasks,
                    'remaining_deps', ss.remaining_deps)
                  when 'completed' then
                    jsonb_build_object('output', ss.output, 'completed_at', ss.completed_at)
                    || case when p_taskless then jsonb_build_object(
                         'started_at', ss.started_at, 'remaining_tasks', 0, 'remaining_deps', 0)
                       else '{}' end
                  when 'failed' then
                    jsonb_build_object('error_message', ss.error_message, 'failed_at', ss.failed_at)
                  else
                    jsonb_build_object('skip_reason', ss.skip_reason, 'skipped_at', ss.skipped_at)
                    || case when ss.skip_reason = 'handler_failed'
                         then jsonb_build_object('error_message', ss.error_message)
                         else jsonb_build_object('flow_slug', ss.flow_slug) end
                end as payload
        from unnest(p_keys) with ordinality as k(run_id, step_slug, n)
       cross join lateral (
         select x.* from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
       ) ss
       order by k.n
    ) e;
end
$$;
