-- Which tasks messages in a table of schema pgmq, a queue or an archive, are for. Locks nothing.
create or replace function pgflow._keys_in(p_table text, p_msg_ids bigint[])
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_msg_ids bigint[];
  v_messages jsonb[];
begin
  execute format(
    'select array_agg(m.msg_id order by m.msg_id), array_agg(m.message order by m.msg_id)
       from pgmq.%I m where m.msg_id = any ($1)', p_table
  ) into v_msg_ids, v_messages using p_msg_ids;
  return pgflow._read_messages(v_msg_ids, v_messages);
end
$$;
