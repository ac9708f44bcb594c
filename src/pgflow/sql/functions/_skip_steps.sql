-- Skips these steps alone; their dependents go on without them. Returns the dependents that became ready.
-- The caller holds the runs; keys come in the order in which their events go out.
create or replace function pgflow._skip_steps(p_keys pgflow.step_key[], p_reason text, p_error text default null)
returns pgflow.step_key[]
language plpgsql
set search_path to ''
as $$
begin
  update pgflow.step_states ss
     set status = 'skipped',
         skip_reason = p_reason,
         error_message = p_error,
         skipped_at = greatest(now(), ss.created_at),
         remaining_tasks = null
    from unnest(p_keys) as k
   where ss.run_id = k.run_id and ss.step_slug = k.step_slug;
  perform pgflow._emit_steps(p_keys);
  perform pgflow._count_down_steps(p_keys, false);
  return (pgflow._release_dependents(p_keys, false)).ready;
end
$$;
