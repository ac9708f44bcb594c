-- Makes the tasks of steps of one flow that have just started: a message and a row each.
-- Messages are inserted in the order of the steps given and of their tasks, so that msg_ids, and with them the order of
-- reading, rise so; a map's array is taken apart once, here, and its elements never sorted. Series stand among what is
-- selected, where each comes out row by row: a step's own function scan would cost more than its look-ups.
-- Where settle_and_poll asks for what follows from results, they are made as that worker's claims, without being queued.
-- Locks nothing but what it inserts.
create or replace function pgflow._send_tasks(p_flow_slug text, p_steps pgflow.started_step[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_visible_at constant timestamptz[] := array(
    select greatest(clock_timestamp(), r.start_at) + make_interval(secs => coalesce(s.opt_start_delay, 0))
      from unnest(p_steps) with ordinality as k(flow_slug, run_id, step_slug, tasks, n)
     cross join lateral (
       select x.opt_start_delay
         from pgflow.steps x where x.flow_slug = p_flow_slug and x.step_slug = k.step_slug offset 0
     ) s
     cross join lateral (select x.start_at from pgflow.runs x where x.run_id = k.run_id offset 0) r
     order by k.n
  );
  v_handed pgflow.handing_over := nullif(current_setting('pgflow.handing_over', true), '')::pgflow.handing_over;
  v_leased_until timestamptz;
  v_claims int;
  v_msg_ids bigint[];
begin
  if v_handed.worker_id is not null then
    select clock_timestamp() + make_interval(secs => v_handed.lease) into v_leased_until
      from pgflow.flows f
     where f.flow_slug = p_flow_slug and f.flow_slug = any (v_handed.flow_slugs) and f.paused_at is null
       and v_handed.qty >= (select sum(k.tasks) from unnest(p_steps) as k)
       and clock_timestamp() >= all (v_visible_at);
    if v_leased_until is null then
      v_handed := null;
    end if;
  end if;
  v_claims := case when v_leased_until is null then 0 else 1 end;

  -- what needs no queue's name is above: this is planned anew at each call
  execute format(
    $q$
      with sent as (
        insert into pgmq.%I (vt, read_ct, message)
        select coalesce($3, w.vt), $4,
               jsonb_build_object('flow_slug', w.flow_slug, 'run_id', w.run_id, 'step_slug', w.step_slug,
                                  'task_index', generate_series(0, w.tasks - 1))
          from unnest($1, $2) as w(flow_slug, run_id, step_slug, tasks, vt)
        returning msg_id
      )
      select array_agg(msg_id order by msg_id) from sent
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids using p_steps, v_visible_at, v_leased_until, v_claims;

  insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input,
                                 status, attempts_count, fence, started_at, leased_until, last_worker_id)
  select p_flow_slug, e.run_id, e.step_slug, e.task_index, v_msg_ids[e.sent_before + e.task_index + 1],
         case when e.by_index then to_jsonb(e.task_index) else e.element end,
         case v_claims when 0 then 'queued' else 'started' end, v_claims, v_claims,
         case v_claims when 1 then now() end, v_leased_until, v_handed.worker_id
    from (
      select w.run_id, w.step_slug, w.sent_before, w.by_index,
             generate_series(0, w.tasks - 1) as task_index,
             jsonb_array_elements(case when jsonb_typeof(w.items) = 'array' then w.items end) as element
        from (
          select k.run_id, k.step_slug, k.tasks, sum(k.tasks) over (order by k.n)::int - k.tasks as sent_before,
                 s.deps_count = 0 and s.initial_tasks is not null as by_index,
                 case when s.step_type = 'single' or s.deps_count = 0 and s.initial_tasks is not null then null
                      when s.deps_count = 0 then (select r.input from pgflow.runs r where r.run_id = k.run_id)
                      else (select up.output
                              from pgflow.deps d
                             cross join lateral (
                               select x.output
                                 from pgflow.step_states x
                                where x.run_id = k.run_id and x.step_slug = d.dep_slug offset 0
                             ) up
                             where d.flow_slug = p_flow_slug and d.step_slug = k.step_slug)
                 end as items
            from unnest(p_steps) with ordinality as k(flow_slug, run_id, step_slug, tasks, n)
           cross join lateral (
             select x.step_type, x.deps_count, x.initial_tasks
               from pgflow.steps x where x.flow_slug = p_flow_slug and x.step_slug = k.step_slug offset 0
           ) s
        ) w
    ) e
   where e.task_index is not null;

  if v_leased_until is null then
    perform pgflow._wake_workers(p_flow_slug, clock_timestamp() >= all (v_visible_at));
  else
    v_handed.qty := v_handed.qty - cardinality(v_msg_ids);
    v_handed.steps := v_handed.steps || p_steps;
    perform set_config('pgflow.handing_over', v_handed::text, true);
  end if;
end
$$;
