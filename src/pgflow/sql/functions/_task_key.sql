-- The expression, for dynamic SQL, that makes a task_key of a queue's row: which task the message is for. One that
-- says nothing of the kind gives a key without a run. Text, since a function call per row would cost more than
-- the look; no regular expression longer than one character, since every state of it is built anew per row.
-- Locks nothing.
create or replace function pgflow._task_key()
returns text
language sql immutable parallel safe
set search_path to ''
as $$
  select $q$(
    case when m.message ->> 'run_id' like '________-____-____-____-____________'
          and length(replace(m.message ->> 'run_id', '-', '')) = 32
          and m.message ->> 'run_id' !~ '[^0-9a-f-]'
         then (m.message ->> 'run_id')::uuid end,
    m.message ->> 'step_slug',
    case when length(m.message ->> 'task_index') between 1 and 9 and m.message ->> 'task_index' !~ '[^0-9]'
         then (m.message ->> 'task_index')::int end,
    m.msg_id
  )::pgflow.task_key$q$
$$;
