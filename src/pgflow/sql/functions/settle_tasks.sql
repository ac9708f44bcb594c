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
  v_outcomes pgflow.outcome[];
  v_judged pgflow.judged_outcome[];
  v_actions text[];
  v_verdicts text[];
  v_ending uuid[];
  v_last pgflow.judged_outcome;
begin
  v_outcomes := array(
    select (x.n, row_number() over (partition by x.run_id, x.step_slug, x.task_index, x.fence order by x.n),
            x.run_id, x.step_slug, x.task_index, x.fence, x.status, x.error, x.permanent, x.retry_in)::pgflow.outcome
      from rows from (
             jsonb_to_recordset(outcomes) as (
               run_id uuid, step_slug text, task_index int, fence bigint, status text, error text,
               permanent boolean, retry_in double precision)
           ) with ordinality as x(run_id, step_slug, task_index, fence, status, error, permanent, retry_in, n)
  );
  if exists (
    select from unnest(v_outcomes) as o
     where o.status is null or o.status not in ('completed', 'failed', 'released')
  ) then
    raise exception 'every outcome needs a status: completed, failed or released';
  end if;
  perform from pgflow.runs r
    where r.run_id = any (array(select distinct o.run_id from unnest(v_outcomes) as o))
    order by r.run_id for no key update;
  -- one look-up by primary key after the other, in this order, whatever the planner knows of the table
  perform from (
      select distinct o.run_id, o.step_slug from unnest(v_outcomes) as o order by o.run_id, o.step_slug
    ) k
    cross join lateral (
      select from pgflow.step_states ss
       where ss.run_id = k.run_id and ss.step_slug = k.step_slug for no key update
    ) locked;

  v_judged := array(select j from pgflow._judge_outcomes(v_outcomes, outcomes) j);
  v_verdicts := array(select coalesce(j.verdict, 'applied') from unnest(v_judged) as j order by j.n);
  v_actions := array(select distinct j.action from unnest(v_judged) as j);

  if v_actions && array['release', 'retry'] then
    perform pgflow._put_back(array(select j from unnest(v_judged) as j where j.action in ('release', 'retry')));
  end if;
  if v_actions && array['complete'] then
    perform pgflow._complete_tasks(
      settle_tasks.worker_id, array(select j from unnest(v_judged) as j where j.action = 'complete'), outcomes);
  end if;
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
