-- Gives each message of a flow the time at which it becomes visible (null and archived ids are passed over).
-- Locks: the messages by msg_id.
create or replace function pgflow._set_visible(p_flow_slug text, p_msg_ids bigint[], p_at timestamptz[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  execute format(
    $q$
      with locked as materialized (
        select q.msg_id, w.at
          from unnest($1, $2) as w(msg_id, at) join pgmq.%1$I q on q.msg_id = w.msg_id
         order by q.msg_id
           for update of q
      )
      update pgmq.%1$I q set vt = l.at from locked l where q.msg_id = l.msg_id
    $q$, pgflow._queue_table(p_flow_slug)
  ) using p_msg_ids, p_at;
end
$$;
