-- Claims up to qty tasks of these flows for a worker: read and start in one call, each leased for `lease` seconds
-- and with a new fence. The flows share qty fairly, in an order that changes from call to call.
-- The last row carries no task but in how many seconds the next message of these flows becomes visible (null:
-- there is none, or qty was reached).
-- Locks: flows (whose queues are looked through), messages, then tasks by run, step and index, skipping what others
-- hold; never waits for a lock.
create or replace function pgflow.poll_tasks(flow_slugs text[], worker_id uuid, qty int, lease int)
returns table (
  flow_slug text,
  run_id uuid,
  step_slug text,
  task_index int,
  msg_id bigint,
  input jsonb,
  flow_input jsonb,
  fence bigint,
  attempt int,
  max_attempts int,
  timeout int,
  base_delay int,
  next_visible_in double precision
)
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_material to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
#variable_conflict use_column
declare
  v_flows text[] := array(
    select f.flow_slug from pgflow.flows f
     where f.flow_slug = any (flow_slugs) and f.paused_at is null
     order by random()
  );
  v_flow text;
  v_asked text[];
  v_saturated text[];
  v_left int := qty;
  v_share int;
  v_until timestamptz;
  v_keys pgflow.task_key[];
  v_claimed int;
  v_next timestamptz;
begin
  perform pgflow._look_through(v_flows, lease);
  if cardinality(v_flows) > 1 then
    v_until := clock_timestamp();
    select coalesce(array_agg(w.flow order by w.n) filter (where w.at <= v_until), '{}'),
           min(w.at) filter (where w.at > v_until)
      into v_flows, v_next
      from unnest(v_flows, pgflow._first_visible(v_flows)) with ordinality as w(flow, at, n);
  end if;
  v_asked := v_flows;
  -- In rounds, as long as some flow has given its whole share, and so may have more.
  while v_left > 0 and cardinality(v_flows) > 0 loop
    v_saturated := '{}';
    for i in 1 .. cardinality(v_flows) loop
      exit when v_left <= 0;
      v_flow := v_flows[i];
      v_share := ceil(v_left::numeric / (cardinality(v_flows) - i + 1));
      v_until := clock_timestamp() + make_interval(secs => lease);
      v_keys := pgflow._take_messages(v_flow, v_share, v_until);
      continue when v_keys = '{}';
      if cardinality(v_keys) = v_share then
        v_saturated := v_saturated || v_flow;
      end if;

      return query
        select c.*, null::double precision from pgflow._claim_tasks(v_keys, poll_tasks.worker_id, v_until) c;
      get diagnostics v_claimed = row_count;
      v_left := v_left - v_claimed;
      continue when v_claimed = cardinality(v_keys);

      v_keys := pgflow._sort_out_messages(v_flow, array(
        select k from unnest(v_keys) as k
         where (
           select t.message_id = k.msg_id and t.leased_until = v_until and t.last_worker_id = poll_tasks.worker_id
             from pgflow.step_tasks t
            where t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index
         ) is not true
      ), lease);
      return query
        select c.*, null::double precision from pgflow._claim_tasks(v_keys, poll_tasks.worker_id, v_until) c;
      get diagnostics v_claimed = row_count;
      v_left := v_left - v_claimed;
    end loop;
    v_flows := v_saturated;
  end loop;

  if v_left > 0 then
    select least(v_next, min(pgflow._next_visible(f.slug))) into v_next from unnest(v_asked) as f(slug);
  else
    v_next := null;
  end if;
  return query
    select null::text, null::uuid, null::text, null::int, null::bigint, null::jsonb, null::jsonb, null::bigint,
           null::int, null::int, null::int, null::int,
           case when v_next is not null then greatest(extract(epoch from v_next - clock_timestamp()), 0) end
             ::double precision;
end
$$;
