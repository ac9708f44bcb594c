-- The steps of a run that nothing holds back: for callers who come without knowing which. Locks nothing.
create or replace function pgflow._ready_steps(p_run_id uuid)
returns pgflow.step_key[]
language sql stable
set search_path to ''
as $$
  select coalesce(array_agg((ss.run_id, ss.step_slug)::pgflow.step_key), '{}')
    from pgflow.step_states ss
   where ss.run_id = p_run_id and ss.status = 'created' and ss.remaining_deps = 0
$$;
