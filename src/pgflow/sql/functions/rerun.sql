-- Starts a new run of the same flow that begins at a step, and returns it: every step that does not come after it
-- keeps what it came to in the given run (its output, or that it was skipped); one that had come to nothing runs.
-- A kept skip that took along what came after it does so again. Without an input the new run gets that of the given
-- one. Locks: the given run.
create or replace function pgflow.rerun(run_id uuid, from_step text, input jsonb default null)
returns setof pgflow.runs
language plpgsql
set search_path to ''
set enable_hashjoin to off
set enable_mergejoin to off
set enable_seqscan to off
set plan_cache_mode to force_generic_plan
as $$
declare
  v_parent constant pgflow.runs := pgflow._hold_run(rerun.run_id);
  v_input constant jsonb := coalesce(rerun.input, v_parent.input);
  v_again constant text[] := pgflow._steps_from(v_parent.flow_slug, rerun.from_step);
  v_kept text[];
  v_run_id uuid;
begin
  if v_again = '{}' then
    raise exception 'Flow % has no step "%": it has %', v_parent.flow_slug, rerun.from_step,
      (select string_agg(case when s.step_index < 20 then s.step_slug else '…' end, ', ' order by s.step_index)
         from pgflow.steps s where s.flow_slug = v_parent.flow_slug and s.step_index <= 20);
  end if;
  v_kept := array(
    select ss.step_slug from pgflow.step_states ss
     where ss.run_id = v_parent.run_id and ss.status in ('completed', 'skipped') and ss.step_slug <> all (v_again)
  );
  if jsonb_typeof(v_input) <> 'array' and exists (
    select from pgflow.steps s
     where s.flow_slug = v_parent.flow_slug and s.step_type = 'map' and s.deps_count = 0
       and s.initial_tasks is null and s.step_slug <> all (v_kept)
  ) then
    raise exception '%', pgflow._no_array(v_parent.flow_slug, v_input);
  end if;

  insert into pgflow.runs (flow_slug, input, parent_run_id, remaining_steps)
  select v_parent.flow_slug, v_input, v_parent.run_id, count(*)
    from pgflow.steps s where s.flow_slug = v_parent.flow_slug and s.step_slug <> all (v_kept)
  returning runs.run_id into v_run_id;
  perform pgflow._take_over_steps(v_run_id, v_parent.run_id, v_kept);
  perform pgflow._emit_runs(array[v_run_id]);
  perform pgflow._skip_downstream(array(
    select (ss.run_id, ss.step_slug)::pgflow.step_key
      from pgflow.step_states ss
      join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
     where ss.run_id = v_run_id and ss.status = 'skipped'
       and case ss.skip_reason when 'condition_unmet' then s.when_unmet
                               when 'handler_failed' then s.when_exhausted
                               else 'skip-cascade' end = 'skip-cascade'
  ), 'dependency_skipped');
  perform pgflow._advance(pgflow._ready_steps(v_run_id));
  perform pgflow._count_down_steps(array[(v_run_id, null)::pgflow.step_key], true); -- all may be skipped
  return query select r.* from pgflow.runs r where r.run_id = v_run_id;
end
$$;
