-- Settles outcomes of claimed tasks, any mix over any runs, and everything that follows. `outcomes` is an array of
--   {run_id, step_slug, task_index, fence, status: completed | failed | released,
--    output (completed), error, permanent, retry_in: seconds (failed)}.
-- One verdict per outcome, in order: applied, duplicate (a lost answer sent again), stale (not the current fence,
-- or closed by a contract call), gone (run or step has ended). The effect is that of one call per outcome: first
-- what is handed back or retried, then completions, then type violations, then final failures.
-- Locks: runs by run_id, step states by run and slug, tasks by run, slug and index, then messages.
create or replace function pgflow.settle_tasks(worker_id uuid, outcomes jsonb)
returns text[]
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
  v_results pgflow.step_results[];
  v_is_wrong boolean;
  v_all_completed boolean;
  v_is_repeated boolean;
  v_judged pgflow.judged_outcome[] := '{}';
  v_stored pgflow.stored_results[];
  v_places int[];
  v_verdicts text[] := array_fill('applied'::text, array[jsonb_array_length(outcomes)]);
  v_ending uuid[];
  v_last pgflow.judged_outcome;
begin
  select array_agg((k.run_id, k.step_slug, k.places, k.indexes, k.fences)::pgflow.step_results
                   order by k.run_id, k.step_slug),
         bool_or(k.is_wrong), bool_and(k.all_completed), bool_or(k.is_repeated)
    into v_results, v_is_wrong, v_all_completed, v_is_repeated
    from (
      select x.run_id, x.step_slug,
             array_agg(x.n) filter (where x.status = 'completed') as places,
             array_agg(x.task_index) filter (where x.status = 'completed') as indexes,
             array_agg(x.fence) filter (where x.status = 'completed') as fences,
             bool_and(x.status = 'completed') as all_completed,
             bool_or((x.status in ('completed', 'failed', 'released')) is not true) as is_wrong,
             count(*) > count(distinct x.task_index) as is_repeated
        from rows from (
               jsonb_to_recordset(outcomes) as (
                 run_id uuid, step_slug text, task_index int, fence bigint, status text)
             ) with ordinality as x(run_id, step_slug, task_index, fence, status, n)
       group by x.run_id, x.step_slug
    ) k;
  if v_is_wrong then
    raise exception 'every outcome needs a status: completed, failed or released';
  end if;
  perform from pgflow.runs r
    where r.run_id = any (array(select distinct k.run_id from unnest(v_results) as k))
    order by r.run_id for no key update;
  -- one look-up by primary key after the other, in this order, whatever the planner knows of the table
  perform from unnest(v_results) as k
    cross join lateral (
      select from pgflow.step_states ss
       where ss.run_id = k.run_id and ss.step_slug = k.step_slug for no key update
    ) locked;

  -- Mostly all are results that can be stored: so they are stored, and only what could not be is judged. Two claims
  -- of one task are judged before either changes it.
  if v_is_repeated then
    v_results := array(
      select (o.run_id, o.step_slug, array_agg(o.n), array_agg(o.task_index), array_agg(o.fence))::pgflow.step_results
        from pgflow._read_outcomes(outcomes) o
       where o.status = 'completed' and o.nth = 1
       group by o.run_id, o.step_slug
    );
  end if;
  if v_is_repeated or not v_all_completed then
    v_judged := array(
      select j from pgflow._judge_outcomes(
        array(
          select o from pgflow._read_outcomes(outcomes) o where v_is_repeated or o.status <> 'completed'
        ), outcomes) j
    );
  end if;
  v_stored := array(select s from pgflow._store_results(settle_tasks.worker_id, v_results, outcomes) s);
  v_places := array(select p from unnest(v_stored) as s cross join lateral unnest(s.places) as p);
  if not v_is_repeated and cardinality(v_places) + cardinality(v_judged) < cardinality(v_verdicts) then
    v_judged := v_judged || array(
      select j from pgflow._judge_outcomes(
        array(
          select o from pgflow._read_outcomes(outcomes) o
            join (select n from generate_subscripts(v_verdicts, 1) as n except select unnest(v_places)) w on w.n = o.n
           where o.status = 'completed'
        ), outcomes) j
    );
  end if;

  if cardinality(v_judged) > 0 then
    -- a run that is about to fail must not have its tasks handed to anybody
    perform set_config('pgflow.handing_over', '', true);
    perform pgflow._put_back(array(select j from unnest(v_judged) as j where j.action in ('release', 'retry')));
  end if;
  perform pgflow._archive_messages(s.flow_slug, s.msg_ids) from unnest(v_stored) as s;
  perform pgflow._count_down_tasks(array(select k from unnest(v_stored) as s cross join lateral unnest(s.keys) as k))
    where cardinality(v_places) > 0;
  if cardinality(v_judged) = 0 then
    return v_verdicts;
  end if;

  for v_last in
    select j.* from unnest(v_judged) as j
     where j.verdict is not null or (j.action = 'complete' and j.n <> all (v_places))
  loop
    -- one that might have been stored, and was not, has just been claimed by somebody
    v_verdicts[v_last.n] := coalesce(v_last.verdict, 'stale');
  end loop;
  v_ending := array(
    select distinct j.run_id from unnest(v_judged) as j where j.action in ('violate', 'exhaust')
  );
  if cardinality(v_ending) > 1 then
    perform pgflow._lock_open_messages(v_ending);
  end if;
  -- Each of these may end its step or its run, and with it the reason for the next.
  for v_last in
    select j.* from unnest(v_judged) as j where j.action in ('violate', 'exhaust')
     order by j.action = 'exhaust', j.n
  loop
    if pgflow._is_open(v_last.run_id, v_last.step_slug) then
      update pgflow.step_tasks t set settled_fence = t.fence
       where t.run_id = v_last.run_id and t.step_slug = v_last.step_slug and t.task_index = v_last.task_index;
      if v_last.action = 'violate' then
        perform pgflow._violate_type(v_last.run_id, v_last.step_slug, v_last.task_index,
                                     outcomes -> (v_last.n - 1) -> 'output', v_last.starved_map);
      else
        perform pgflow._exhaust_task(v_last.run_id, v_last.step_slug, v_last.task_index, v_last.error);
      end if;
    else
      v_verdicts[v_last.n] := 'gone';
    end if;
  end loop;
  return v_verdicts;
end
$$;
