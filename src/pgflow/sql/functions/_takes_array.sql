-- Whether a flow's input must be an array: it has a root map that takes its elements from there.
-- Raises where there is no such flow. Locks nothing.
create or replace function pgflow._takes_array(p_flow_slug text)
returns boolean
language plpgsql stable
set search_path to ''
as $$
begin
  if not exists (select from pgflow.flows f where f.flow_slug = p_flow_slug) then
    raise exception 'Flow not found: %', p_flow_slug using errcode = 'foreign_key_violation';
  end if;
  return exists (
    select from pgflow.steps s
     where s.flow_slug = p_flow_slug and s.step_type = 'map' and s.deps_count = 0 and s.initial_tasks is null
  );
end
$$;
