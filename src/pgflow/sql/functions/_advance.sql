-- What follows when steps have become ready: judge them, complete those without tasks, in turn until nothing
-- changes; then start the others and complete the runs that are done. The caller holds the runs.
-- It only ever looks at the steps it was given and at those it frees, never at the whole run.
create or replace function pgflow._advance(p_run_ids uuid[], p_ready pgflow.step_key[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_ready pgflow.step_key[] := p_ready;
  v_met pgflow.step_key[] := '{}';
begin
  while cardinality(v_ready) > 0 loop
    v_ready := pgflow._judge_steps(v_ready);
    v_met := v_met || v_ready;
    v_ready := (pgflow._complete_taskless_steps(v_ready)).ready;
  end loop;
  if cardinality(v_met) > 0 then
    perform pgflow._start_steps(v_met);
  end if;
  perform pgflow._complete_runs(p_run_ids);
end
$$;
