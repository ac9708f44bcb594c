-- Locks messages of a flow in the order that everybody keeps: by msg_id.
create or replace function pgflow._lock_messages(p_flow_slug text, p_msg_ids bigint[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  execute format(
    $q$
      select from (select k.msg_id from unnest($1) as k(msg_id) order by k.msg_id) w
       cross join lateral (select from pgmq.%I m where m.msg_id = w.msg_id for update offset 0) locked
    $q$, pgflow._queue_table(p_flow_slug)
  ) using p_msg_ids;
end
$$;
