-- Once per third of a lease and flow: puts the messages of tasks whose leases have passed in front of all others, so
-- that the next poll comes upon them, however many wait. Those that are hidden are among them (usually a message is
-- hidden just as long as its task is leased, but any foreign read moves it), and those that became visible since a
-- lease before the last look; of all only such as were read.
-- Locks: the flows' rows, then messages by msg_id, skipping what others hold; never waits for a lock.
create or replace function pgflow._look_through(p_flow_slugs text[], p_lease int)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_flow record;
  v_taken bigint[];
begin
  for v_flow in
    with due as materialized (
      select f.flow_slug, f.looked_at from pgflow.flows f
       where f.flow_slug = any (p_flow_slugs)
         and (f.looked_at < clock_timestamp() - make_interval(secs => p_lease / 3.0)) is not false
       order by f.flow_slug
         for no key update skip locked
    )
    update pgflow.flows f set looked_at = clock_timestamp()
      from due d where f.flow_slug = d.flow_slug
    returning f.flow_slug, coalesce(d.looked_at, '-infinity') as last_look
  loop
    execute format(
      'select array(select m.msg_id from pgmq.%I m where m.vt > $1 and m.read_ct > 0)',
      pgflow._queue_table(v_flow.flow_slug)
    ) into v_taken using least(clock_timestamp(), v_flow.last_look) - make_interval(secs => p_lease);
    perform pgflow._set_visible(
              v_flow.flow_slug, array_agg(k.msg_id), array_agg('epoch'::timestamptz), p_skip_locked => true)
       from unnest(pgflow._keys_in(pgflow._queue_table(v_flow.flow_slug), v_taken)) as k
      cross join lateral (
        select from pgflow.step_tasks x
         where x.run_id = k.run_id and x.step_slug = k.step_slug and x.task_index = k.task_index
           and x.message_id = k.msg_id and x.status = 'started' and x.leased_until < clock_timestamp()
        offset 0
      ) t
     having count(*) > 0;
  end loop;
end
$$;
