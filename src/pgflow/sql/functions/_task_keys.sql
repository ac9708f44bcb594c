-- Which tasks the messages of a flow's queue are for. Locks nothing.
create or replace function pgflow._task_keys(p_flow_slug text, p_msg_ids bigint[])
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_keys pgflow.task_key[];
begin
  execute format(
    'select array_agg(%s order by m.msg_id) from pgmq.%I m where m.msg_id = any ($1)',
    pgflow._task_key(), pgflow._queue_table(p_flow_slug)
  ) into v_keys using p_msg_ids;
  return coalesce(v_keys, '{}');
end
$$;
