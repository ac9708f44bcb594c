-- All tasks of a run's started steps that have not completed wait in the queue again, as if for the first time and
-- with new messages; under a new fence, so that a handler that still runs somewhere has no say any more.
-- The caller holds run and step states; locks tasks by step and index.
create or replace function pgflow._queue_anew(p_run_id uuid, p_flow_slug text)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_keys constant pgflow.task_key[] := array(
    select (t.run_id, t.step_slug, t.task_index, t.message_id)::pgflow.task_key
      from pgflow.step_states ss
      join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
     where ss.run_id = p_run_id and ss.status = 'started' and t.status <> 'completed'
     order by t.run_id, t.step_slug, t.task_index
       for no key update of t
  );
  v_msg_ids bigint[];
begin
  if v_keys = '{}' then
    return;
  end if;
  execute format(
    $q$
      with sent as (
        insert into pgmq.%I (vt, message)
        select greatest(clock_timestamp(), r.start_at) + make_interval(secs => coalesce(s.opt_start_delay, 0)),
               jsonb_build_object('flow_slug', s.flow_slug, 'run_id', k.run_id,
                                  'step_slug', k.step_slug, 'task_index', k.task_index)
          from unnest($1) with ordinality as k(run_id, step_slug, task_index, msg_id, n)
          join pgflow.runs r on r.run_id = k.run_id
          join pgflow.steps s on s.flow_slug = r.flow_slug and s.step_slug = k.step_slug
         order by k.n
        returning msg_id
      )
      select array_agg(msg_id order by msg_id) from sent
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids using v_keys;

  update pgflow.step_tasks t
     set status = 'queued',
         message_id = v_msg_ids[k.n],
         queued_at = greatest(now(), t.queued_at),
         started_at = null,
         failed_at = null,
         leased_until = null,
         last_worker_id = null,
         attempts_count = 0,
         requeued_count = 0,
         last_requeued_at = null,
         permanently_stalled_at = null,
         fence = t.fence + 1,
         error_message = null,
         output = null
    from unnest(v_keys) with ordinality as k(run_id, step_slug, task_index, msg_id, n)
   where t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index;
  perform pgflow._wake_workers(p_flow_slug);
end
$$;
