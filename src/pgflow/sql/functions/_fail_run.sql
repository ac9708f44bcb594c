-- A run has failed: nothing of it is started any more. The caller holds the run; locks its messages.
-- p_with_error: whether the event names the error (a type violation's does not).
create or replace function pgflow._fail_run(p_run_id uuid, p_error text, p_with_error boolean default true)
returns void
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.runs r
     set status = 'failed', failed_at = greatest(now(), r.started_at), error_message = p_error
   where r.run_id = p_run_id;
  perform pgflow._emit_runs(array[p_run_id], p_with_error);
  perform pgflow._archive_open_tasks(array(
    select (ss.run_id, ss.step_slug)::pgflow.step_key
      from pgflow.step_states ss where ss.run_id = p_run_id and ss.status in ('started', 'failed')
  ));
  perform pgflow._notify_ended(array[p_run_id]);
end
$$;
