-- Cancels a run and returns it: for the contract's clients it has failed, `cancelled_at` says what it was. Nothing of
-- it is started any more; workers learn it from their next heartbeat or verdict. A run that was cancelled before is
-- returned as it is. Locks: run, messages.
create or replace function pgflow.cancel_run(run_id uuid, reason text default null)
returns setof pgflow.runs
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
declare
  v_run constant pgflow.runs := pgflow._hold_run(cancel_run.run_id);
begin
  if v_run.status = 'started' then
    update pgflow.runs r set cancelled_at = greatest(now(), r.started_at) where r.run_id = v_run.run_id;
    perform pgflow._fail_run(v_run.run_id, concat_ws(': ', 'Cancelled', nullif(cancel_run.reason, '')));
  elsif v_run.cancelled_at is null then
    raise exception 'Run % has % and cannot be cancelled', v_run.run_id, v_run.status
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  return query select r.* from pgflow.runs r where r.run_id = v_run.run_id;
end
$$;
