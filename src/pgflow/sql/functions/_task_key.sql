-- The expression, for dynamic SQL, that makes a task_key of a queue's row: which task the message is for. One that
-- says nothing of the kind gives a key without a run. Text, since a function call per row would cost more than
-- the look. Locks nothing.
create or replace function pgflow._task_key()
returns text
language sql immutable parallel safe
set search_path to ''
as $$
  select $q$(
    case when m.message ->> 'run_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
         then (m.message ->> 'run_id')::uuid end,
    m.message ->> 'step_slug',
    case when m.message ->> 'task_index' ~ '^[0-9]{1,9}$' then (m.message ->> 'task_index')::int end,
    m.msg_id
  )::pgflow.task_key$q$
$$;
