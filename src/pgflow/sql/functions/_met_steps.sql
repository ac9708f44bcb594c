-- Those of these ready steps that may start: no step ever starts unjudged. Locks nothing.
create or replace function pgflow._met_steps(p_keys pgflow.step_key[])
returns pgflow.step_key[]
language sql stable
set search_path to ''
as $$
  select array(
    select (m.run_id, m.step_slug)::pgflow.step_key
      from (select * from unnest(p_keys) except select u.run_id, u.step_slug from pgflow._unmet_steps(p_keys) u) m
  )
$$;
