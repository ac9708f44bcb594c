-- Completes a run whose steps have all ended. Locks: run.
create or replace function pgflow.maybe_complete_run(run_id uuid)
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform from pgflow.runs r where r.run_id = maybe_complete_run.run_id for no key update;
  perform pgflow._count_down_steps(array[(maybe_complete_run.run_id, null)::pgflow.step_key], true);
end
$$;
