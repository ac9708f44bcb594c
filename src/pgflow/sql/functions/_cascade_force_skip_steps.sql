-- Skips a step and everything after it; returns how many steps were skipped.
-- Locks: run, step states by slug, messages.
create or replace function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text)
returns int
language plpgsql
set search_path to ''
as $$
begin
  perform from pgflow.runs r
    where r.run_id = _cascade_force_skip_steps.run_id for no key update;
  if not found then
    raise exception 'Run not found: %', _cascade_force_skip_steps.run_id;
  end if;
  return pgflow._skip_downstream(
    array[(_cascade_force_skip_steps.run_id, _cascade_force_skip_steps.step_slug)::pgflow.step_key],
    _cascade_force_skip_steps.skip_reason
  );
end
$$;
