-- Starts runs of one flow whose inputs were checked; a key that has a run already gives that run.
-- Set-based: one statement for all runs and step states. Returns the ids in the order of inputs.
-- Root steps start at once where there is nothing to judge (see _release_dependents).
-- New ids begin with the time (RFC 9562, version 7): runs that start together lie together in every index that begins
-- with their id. Random ones would lie apart, each on a page of its own, and the dearer the more runs there were.
-- Keys are inserted in sorted order, so that two callers with the same keys wait for each other in turn; what
-- a key already had is read by a second statement. Locks: the flow (for key share, as the runs' reference to it does
-- anyway, but before its steps are counted: add_dynamic_step waits); nothing else, since nobody knows the runs yet.
create or replace function pgflow._start_runs(
  p_flow_slug text,
  p_inputs jsonb[],
  p_run_ids uuid[],
  p_keys text[],
  p_start_at timestamptz
)
returns uuid[]
language plpgsql
set search_path to ''
as $$
declare
  v_time constant bytea := substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3);
  v_ids uuid[] := array(
    select coalesce(p_run_ids[i], encode(
             -- the last two of the version's four bits; the others are those of version 4
             set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing v_time from 1 for 6), 52, 1), 53, 1), 'hex'
           )::uuid)
      from generate_subscripts(p_inputs, 1) as i
     order by i
  );
  v_made uuid[];
  v_ready pgflow.step_key[];
  v_started pgflow.started_step[];
begin
  perform from pgflow.flows f where f.flow_slug = p_flow_slug for key share;

  with made as (
    insert into pgflow.runs (run_id, flow_slug, input, remaining_steps, idempotency_key, start_at)
    select w.run_id, p_flow_slug, w.input, n.steps, w.key, p_start_at
      from (select * from unnest(v_ids, p_inputs, p_keys) with ordinality as u(run_id, input, key, i)) w
     cross join (select count(*) as steps from pgflow.steps s where s.flow_slug = p_flow_slug) n
     order by w.key, w.i
    on conflict (flow_slug, idempotency_key) where idempotency_key is not null do nothing
    returning run_id, input
  ),
  laid_out as (
    insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks,
                                    status, started_at, remaining_tasks)
    select p_flow_slug, w.run_id, w.step_slug, w.deps_count, w.tasks,
           case when w.starts then 'started' else 'created' end,
           case when w.starts then now() end,
           case when w.starts then w.tasks end
      from (
        select m.run_id, s.step_slug, s.step_index, s.deps_count, t.tasks,
               s.deps_count = 0 and bool_and(s.deps_count > 0 or s.is_unconditional and t.tasks > 0)
                 over (partition by m.run_id) as starts
          from made m
          join pgflow._defined_steps s on s.flow_slug = p_flow_slug
         cross join lateral (
           select case when s.step_type = 'single' then 1
                       when s.deps_count = 0 then coalesce(s.initial_tasks, jsonb_array_length(m.input)) end as tasks
         ) t
      ) w
     order by w.run_id, w.step_index
    returning run_id, step_slug, status, remaining_deps, initial_tasks
  )
  select (select array_agg(m.run_id order by m.run_id) from made m),
         coalesce(array_agg((l.run_id, l.step_slug)::pgflow.step_key)
                    filter (where l.status = 'created' and l.remaining_deps = 0), '{}'),
         coalesce(array_agg((p_flow_slug, l.run_id, l.step_slug, l.initial_tasks)::pgflow.started_step)
                    filter (where l.status = 'started'), '{}')
    into v_made, v_ready, v_started
    from laid_out l;

  if p_keys is not null then
    v_ids := array(
      select coalesce(r.run_id, w.run_id)
        from unnest(v_ids, p_keys) with ordinality as w(run_id, key, i)
        left join lateral (
          select x.run_id from pgflow.runs x where x.flow_slug = p_flow_slug and x.idempotency_key = w.key offset 0
        ) r on true
       order by w.i
    );
  end if;
  if v_made is null then
    return v_ids;
  end if;

  perform pgflow._emit_runs(v_made);
  if v_ready = '{}' and v_started = '{}' then
    -- a flow without steps
    perform pgflow._count_down_steps(array(select (m, null)::pgflow.step_key from unnest(v_made) as m), true);
  end if;
  perform pgflow._advance(v_ready, v_started);
  return v_ids;
end
$$;
