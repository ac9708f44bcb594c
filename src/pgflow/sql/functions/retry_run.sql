-- Lets a failed or cancelled run go on from what failed it, and returns it: failed and dead tasks are queued anew,
-- conditions that failed it are judged again; what has completed or was skipped stays. A run that goes on is returned
-- as it is. Locks: run, step states by slug, tasks by step and index, then messages.
create or replace function pgflow.retry_run(run_id uuid)
returns setof pgflow.runs
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
declare
  v_run constant pgflow.runs := pgflow._hold_run(retry_run.run_id);
  v_why_not text;
  v_restarted pgflow.step_key[];
begin
  if v_run.status = 'completed' then
    raise exception 'Run % has completed and cannot be retried (rerun starts a new run from one of its steps)',
      v_run.run_id using errcode = 'object_not_in_prerequisite_state';
  end if;
  if v_run.status = 'failed' then
    perform from pgflow.step_states ss
      where ss.run_id = v_run.run_id order by ss.step_slug for no key update;
    v_why_not := pgflow._why_no_retry(v_run.run_id);
    if v_why_not is not null then
      raise exception 'Run % cannot be retried: %', v_run.run_id, v_why_not
        using errcode = 'object_not_in_prerequisite_state';
    end if;

    v_restarted := pgflow._reopen_steps(v_run.run_id);
    update pgflow.runs r
       set status = 'started',
           started_at = greatest(now(), r.started_at),
           failed_at = null,
           cancelled_at = null,
           error_message = null,
           remaining_steps = (
             select count(*) from pgflow.step_states ss
              where ss.run_id = r.run_id and ss.status in ('created', 'started'))
     where r.run_id = v_run.run_id;
    perform pgflow._emit_runs(array[v_run.run_id]);
    perform pgflow._emit_steps(v_restarted);
    perform pgflow._queue_anew(v_run.run_id, v_run.flow_slug);
    perform pgflow._advance(pgflow._ready_steps(v_run.run_id));
  end if;
  return query select r.* from pgflow.runs r where r.run_id = v_run.run_id;
end
$$;
