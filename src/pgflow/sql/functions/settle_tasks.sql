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
as $$
#variable_conflict use_column
declare
  v_judged pgflow.judged_outcome[];
  v_actions text[];
  v_verdicts text[];
  v_ending uuid[];
  v_last pgflow.judged_outcome;
begin
  if exists (
    select from jsonb_array_elements(outcomes) as o
     where o.value ->> 'status' is null or o.value ->> 'status' not in ('completed', 'failed', 'released')
  ) then
    raise exception 'every outcome needs a status: completed, failed or released';
  end if;
  perform from pgflow.runs r
    where r.run_id = any (array(
      select distinct (o.value ->> 'run_id')::uuid from jsonb_array_elements(outcomes) as o
    ))
    order by r.run_id for no key update;
  -- one look-up by primary key after the other, in this order, whatever the planner knows of the table
  perform from (
      select distinct o.run_id, o.step_slug from jsonb_to_recordset(outcomes) as o(run_id uuid, step_slug text)
       order by o.run_id, o.step_slug
    ) k
    cross join lateral (
      select from pgflow.step_states ss
       where ss.run_id = k.run_id and ss.step_slug = k.step_slug for no key update
    ) locked;
  perform from jsonb_to_recordset(outcomes) as k(run_id uuid, step_slug text, task_index int)
    join pgflow.step_tasks t
      on t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index
    order by t.run_id, t.step_slug, t.task_index for no key update of t;

  v_judged := array(select j from pgflow._judge_outcomes(outcomes) j);
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
