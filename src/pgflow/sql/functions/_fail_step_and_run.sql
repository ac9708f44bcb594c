-- A step has failed and takes its run along. The caller holds the run; locks its messages.
create or replace function pgflow._fail_step_and_run(p_run_id uuid, p_step_slug text, p_error text)
returns void
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.step_states ss
     set status = 'failed', error_message = p_error,
         failed_at = greatest(now(), ss.created_at, ss.started_at)
   where ss.run_id = p_run_id and ss.step_slug = p_step_slug;
  perform pgflow._emit_steps(array[(p_run_id, p_step_slug)::pgflow.step_key]);
  perform pgflow._fail_run(p_run_id, p_error);
end
$$;
