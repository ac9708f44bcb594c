-- Which tasks messages of a queue are for, in the order given. One that says nothing of the kind gives a key without
-- a run. No regular expression longer than one character, since every state of it is built anew per row.
-- Locks nothing.
create or replace function pgflow._read_messages(p_msg_ids bigint[], p_messages jsonb[])
returns pgflow.task_key[]
language plpgsql immutable parallel safe
set search_path to ''
as $$
begin
  return array(
    select (
             case when m.message ->> 'run_id' like '________-____-____-____-____________'
                   and length(replace(m.message ->> 'run_id', '-', '')) = 32
                   and m.message ->> 'run_id' !~ '[^0-9a-f-]'
                  then (m.message ->> 'run_id')::uuid end,
             m.message ->> 'step_slug',
             case when length(m.message ->> 'task_index') between 1 and 9 and m.message ->> 'task_index' !~ '[^0-9]'
                  then (m.message ->> 'task_index')::int end,
             m.msg_id
           )::pgflow.task_key
      from unnest(p_msg_ids, p_messages) as m(msg_id, message)
  );
end
$$;
