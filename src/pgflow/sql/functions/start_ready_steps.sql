-- Starts every step of a run that is ready, has tasks and meets its condition. Locks: run, then step states.
create or replace function pgflow.start_ready_steps(run_id uuid)
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform from pgflow.runs r where r.run_id = start_ready_steps.run_id for no key update;
  perform from pgflow.step_states ss
    where ss.run_id = start_ready_steps.run_id and ss.status = 'created' and ss.remaining_deps = 0
    order by ss.step_slug for no key update;
  perform pgflow._start_steps(pgflow._met_steps(pgflow._ready_steps(start_ready_steps.run_id)));
end
$$;
