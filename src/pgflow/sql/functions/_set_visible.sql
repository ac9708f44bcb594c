-- Gives each message of a flow the time at which it becomes visible (null and archived ids are passed over).
-- No statement joins ids to the queue: all of it would be read for each id where it was empty when it was last
-- analyzed, as queues often are. So each is looked up, and finds its time by its place among the sorted ids.
-- Locks: the messages by msg_id; with p_skip_locked those that others hold are passed over, too.
create or replace function pgflow._set_visible(
  p_flow_slug text, p_msg_ids bigint[], p_at timestamptz[], p_skip_locked boolean default false
)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_msg_ids bigint[];
  v_at timestamptz[];
begin
  select array_agg(w.msg_id order by w.msg_id), array_agg(w.at order by w.msg_id) into v_msg_ids, v_at
    from unnest(p_msg_ids, p_at) as w(msg_id, at) where w.msg_id is not null;
  execute format(
    $q$
      with locked as materialized (
        select m.msg_id from unnest($1) as w(msg_id)
         cross join lateral (
           select q.msg_id from pgmq.%1$I q where q.msg_id = w.msg_id for update %2$s offset 0
         ) m
      )
      update pgmq.%1$I q set vt = ($2)[width_bucket(q.msg_id, $1)]
       where q.msg_id = any (array(select l.msg_id from locked l))
    $q$, pgflow._queue_table(p_flow_slug), case when p_skip_locked then 'skip locked' end
  ) using v_msg_ids, v_at;
end
$$;
