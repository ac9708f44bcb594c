-- Moves messages of a flow to its archive; null and already archived ids are passed over.
-- Locks: the messages by msg_id, since pgmq.archive deletes in no order of its own.
create or replace function pgflow._archive_messages(p_flow_slug text, p_msg_ids bigint[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  if cardinality(p_msg_ids) > 0 then
    perform pgflow._lock_messages(p_flow_slug, p_msg_ids);
    perform pgmq.archive(p_flow_slug, p_msg_ids);
  end if;
end
$$;
