-- Whether a step of a run is being worked on. Locks nothing.
create or replace function pgflow._is_open(p_run_id uuid, p_step_slug text)
returns boolean
language sql stable
set search_path to ''
as $$
  select exists (
    select from pgflow.runs r
      join pgflow.step_states ss on ss.run_id = r.run_id
     where r.run_id = p_run_id and ss.step_slug = p_step_slug and r.status = 'started' and ss.status = 'started'
  )
$$;
