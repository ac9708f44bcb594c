-- Takes the first visible messages of a flow's queue, counts that they were read, and hides them until a time, in one
-- update; returns which tasks they are for. One that was changed between our look and our lock is left for the next
-- poll: its place is not yet known to this statement. Locks: those messages, skipping what others hold.
create or replace function pgflow._take_messages(p_flow_slug text, p_qty int, p_until timestamptz)
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_msg_ids bigint[];
  v_messages jsonb[];
begin
  execute format(
    $q$
      with m as (
        update pgmq.%1$I q set vt = $3, read_ct = q.read_ct + 1
         where q.ctid = any (array(
           select v.ctid from pgmq.%1$I v where v.vt <= $1 order by v.vt limit $2 for update skip locked
         ))
        returning q.msg_id, q.message
      )
      select array_agg(m.msg_id), array_agg(m.message) from m
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids, v_messages using clock_timestamp(), p_qty, p_until;
  return pgflow._read_messages(v_msg_ids, v_messages);
end
$$;
