-- Which tasks the messages of a flow's queue are for. Locks nothing.
create or replace function pgflow._task_keys(p_flow_slug text, p_msg_ids bigint[])
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
       from pgmq.%I m where m.msg_id = any ($1)',
    pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids, v_messages using p_msg_ids;
  return pgflow._read_messages(v_msg_ids, v_messages);
end
$$;
