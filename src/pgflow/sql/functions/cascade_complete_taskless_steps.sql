-- Completes the ready steps of a run that have no tasks, and those that become so by it, wave by wave;
-- returns how many. Locks: run.
create or replace function pgflow.cascade_complete_taskless_steps(run_id uuid)
returns int
language plpgsql
set search_path to ''
as $$
declare
  v_ready pgflow.step_key[];
  v_wave int;
  v_completed int := 0;
begin
  perform from pgflow.runs r where r.run_id = cascade_complete_taskless_steps.run_id for no key update;
  v_ready := pgflow._ready_steps(cascade_complete_taskless_steps.run_id);
  while cardinality(v_ready) > 0 loop
    select w.completed, w.ready into v_wave, v_ready
      from pgflow._complete_taskless_steps(pgflow._met_steps(v_ready)) w;
    v_completed := v_completed + v_wave;
  end loop;
  return v_completed;
end
$$;
