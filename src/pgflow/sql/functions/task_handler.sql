-- The name of the function that works on a step's tasks, and the step's type. Volatile, so that it reads the step as it
-- is when a task of it has just been claimed, and not as it was when the statement began. Locks nothing.
create or replace function pgflow.task_handler(flow_slug text, step_slug text)
returns table (handler text, step_type text)
language plpgsql
rows 1
set search_path to ''
as $$
#variable_conflict use_column
begin
  return query
    select coalesce(s.handler, s.step_slug), s.step_type
      from pgflow.steps s
     where s.flow_slug = task_handler.flow_slug and s.step_slug = task_handler.step_slug;
end
$$;
