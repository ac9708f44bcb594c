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
  perform pgflow._set_visible(queue_name, msg_ids, array(
    select clock_timestamp() + make_interval(secs => o.seconds)
      from unnest(vt_offsets) with ordinality as o(seconds, n) order by o.n));
  return query execute format(
    $q$
      select q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, nullif(to_jsonb(q) -> 'headers', 'null')
        from pgmq.%I q where q.msg_id = any ($1)
    $q$, pgflow._queue_table(queue_name)
  ) using msg_ids;
end
$$;
