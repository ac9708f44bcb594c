-- Locks messages of a flow in the order that everybody keeps: by msg_id.
create or replace function pgflow._lock_messages(p_flow_slug text, p_msg_ids bigint[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  execute format(
    'select from pgmq.%I where msg_id = any ($1) order by msg_id for update', pgflow._queue_table(p_flow_slug)
  ) using p_msg_ids;
end
$$;
