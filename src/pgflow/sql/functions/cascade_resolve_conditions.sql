-- Judges the ready steps of a run until nothing changes; false: the run has failed. Locks: run.
create or replace function pgflow.cascade_resolve_conditions(run_id uuid)
returns boolean
language plpgsql
set search_path to ''
as $$
begin
  perform from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id for no key update;
  perform pgflow._judge_steps(pgflow._ready_steps(cascade_resolve_conditions.run_id));
  return not exists (
    select from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id and r.status = 'failed'
  );
end
$$;
