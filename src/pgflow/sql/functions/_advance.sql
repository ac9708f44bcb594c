-- What follows when steps have become ready: judge them, complete those without tasks, in turn until nothing
-- changes; then start the others, together with those that have started already, and complete the runs that are done.
-- The caller holds the runs.
-- It only ever looks at the steps it was given and at those it frees, never at the whole run.
create or replace function pgflow._advance(
  p_ready pgflow.step_key[],
  p_started pgflow.started_step[] default '{}'
)
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
  perform pgflow._start_steps(v_met, p_started);
  if cardinality(p_ready) > 0 then
    perform pgflow._count_down_steps(
      array(select distinct (k.run_id, null)::pgflow.step_key from unnest(p_ready) as k), true);
  end if;
end
$$;
