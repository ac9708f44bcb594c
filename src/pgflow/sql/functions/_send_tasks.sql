-- Makes the tasks of steps of one flow that have just started: a message and a row each.
-- Messages are inserted by run, step and index, so that msg_ids, and with them the order of reading, rise so;
-- a map's array is taken apart once, here, and its elements never sorted. Locks nothing but what it inserts.
create or replace function pgflow._send_tasks(p_flow_slug text, p_keys pgflow.step_key[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_msg_ids bigint[];
begin
  execute format(
    $q$
      with sent as (
        insert into pgmq.%I (vt, message)
        select greatest(clock_timestamp(), r.start_at) + make_interval(secs => coalesce(s.opt_start_delay, 0)),
               jsonb_build_object('flow_slug', ss.flow_slug, 'run_id', ss.run_id,
                                  'step_slug', ss.step_slug, 'task_index', i.task_index)
          from unnest($1) as k
         cross join lateral (
           select x.flow_slug, x.step_slug, x.run_id, x.initial_tasks
             from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
         ) ss
         cross join lateral (
           select x.opt_start_delay
             from pgflow.steps x where x.flow_slug = ss.flow_slug and x.step_slug = k.step_slug offset 0
         ) s
         cross join lateral (select x.start_at from pgflow.runs x where x.run_id = k.run_id offset 0) r
         cross join lateral generate_series(0, ss.initial_tasks - 1) as i(task_index)
         order by k.run_id, k.step_slug, i.task_index
        returning msg_id
      )
      select array_agg(msg_id order by msg_id) from sent
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids using p_keys;

  insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input)
  select p_flow_slug, w.run_id, w.step_slug, e.task_index, v_msg_ids[w.sent_before + e.task_index + 1], e.element
    from (
      select k.run_id, k.step_slug, ss.initial_tasks, s.step_type, s.deps_count,
             s.initial_tasks is not null and s.deps_count = 0 as by_index,
             (sum(ss.initial_tasks) over (order by k.run_id, k.step_slug) - ss.initial_tasks)::int as sent_before
        from unnest(p_keys) as k
       cross join lateral (
         select x.initial_tasks
           from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
       ) ss
       cross join lateral (
         select x.step_type, x.deps_count, x.initial_tasks
           from pgflow.steps x where x.flow_slug = p_flow_slug and x.step_slug = k.step_slug offset 0
       ) s
    ) w
   cross join lateral (
     select case
              when w.step_type = 'single' or w.by_index then null
              when w.deps_count = 0 then (select r.input from pgflow.runs r where r.run_id = w.run_id)
              else (select up.output
                      from pgflow.deps d
                     cross join lateral (
                       select x.output
                         from pgflow.step_states x where x.run_id = w.run_id and x.step_slug = d.dep_slug offset 0
                     ) up
                     where d.flow_slug = p_flow_slug and d.step_slug = w.step_slug)
            end as items
   ) a
   cross join lateral (
     select z.task_index, case when w.by_index then to_jsonb(z.task_index) else z.element end as element
       from rows from (
              generate_series(0, w.initial_tasks - 1),
              jsonb_array_elements(case when jsonb_typeof(a.items) = 'array' then a.items end)
            ) as z(task_index, element)
      where z.task_index is not null
   ) e;

  perform pgflow._wake_workers(p_flow_slug);
end
$$;
