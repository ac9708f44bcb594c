-- Gives messages of any pgmq queue each its own visibility, in seconds from now. Locks: messages by msg_id.
create or replace function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets int[])
returns table (
  msg_id bigint,
  read_ct int,
  enqueued_at timestamptz,
  vt timestamptz,
  message jsonb,
  headers jsonb
)
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
begin
  if msg_ids is null or vt_offsets is null or (msg_ids = '{}' and vt_offsets = '{}') then
    return;
  end if;
  if cardinality(msg_ids) <> cardinality(vt_offsets) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)',
      cardinality(msg_ids), cardinality(vt_offsets);
  end if;
  return query execute format(
    $q$
      with locked as materialized (
        select q.msg_id, w.seconds
          from unnest($1, $2) as w(msg_id, seconds) join pgmq.%1$I q on q.msg_id = w.msg_id
         order by q.msg_id
           for update of q
      )
      update pgmq.%1$I q set vt = clock_timestamp() + make_interval(secs => l.seconds)
        from locked l
       where q.msg_id = l.msg_id
      returning q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, nullif(to_jsonb(q) -> 'headers', 'null')
    $q$, pgflow._queue_table(queue_name)
  ) using msg_ids, vt_offsets;
end
$$;
