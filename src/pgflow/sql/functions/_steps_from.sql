-- A step of a flow and all that come after it. Locks nothing.
create or replace function pgflow._steps_from(p_flow_slug text, p_step_slug text)
returns text[]
language sql stable
set search_path to ''
as $$
  with recursive reached as (
    select s.step_slug from pgflow.steps s where s.flow_slug = p_flow_slug and s.step_slug = p_step_slug
    union
    select d.step_slug
      from reached r
      join pgflow.deps d on d.flow_slug = p_flow_slug and d.dep_slug = r.step_slug
  )
  select array(select r.step_slug from reached r)
$$;
