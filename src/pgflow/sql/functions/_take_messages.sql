-- Takes the first visible messages of a flow's queue and hides them until a time, in one update.
-- Locks: those messages, skipping what others hold.
create or replace function pgflow._take_messages(p_flow_slug text, p_qty int, p_until timestamptz)
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_msg_ids bigint[];
begin
  execute format(
    $q$
      with taken as (
        update pgmq.%1$I q set vt = $3
         where q.msg_id = any (array(
           select m.msg_id from pgmq.%1$I m where m.vt <= $1 order by m.vt limit $2 for update skip locked
         ))
        returning q.msg_id
      )
      select array_agg(t.msg_id) from taken t
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids using clock_timestamp(), p_qty, p_until;
  if v_msg_ids is null then
    return '{}';
  end if;
  return pgflow._task_keys(p_flow_slug, v_msg_ids);
end
$$;
