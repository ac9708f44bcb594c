-- Locks a run, the first of all that its callers lock, and returns it; raises where there is none.
create or replace function pgflow._hold_run(p_run_id uuid)
returns pgflow.runs
language plpgsql
set search_path to ''
as $$
declare
  v_run pgflow.runs;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = p_run_id for no key update;
  if not found then
    raise exception 'Run not found: %', p_run_id using errcode = 'no_data_found';
  end if;
  return v_run;
end
$$;
