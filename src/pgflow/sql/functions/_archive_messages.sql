-- Moves messages of a flow to its archive; null and already archived ids are passed over.
-- Locks: the messages by msg_id. pgmq.archive deletes by the primary key, whose scan takes the ids in their order as
-- long as nothing but an index may be used: hence the settings, which cost less than locking each message first.
create or replace function pgflow._archive_messages(p_flow_slug text, p_msg_ids bigint[])
returns void
language plpgsql
set search_path to ''
set enable_seqscan to off
set enable_bitmapscan to off
as $$
begin
  if cardinality(p_msg_ids) > 0 then
    perform pgmq.archive(p_flow_slug, p_msg_ids);
  end if;
end
$$;
