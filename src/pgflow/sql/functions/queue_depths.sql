-- How many messages of each flow wait for a worker now, how long the first of them has, and how many come up later.
-- Reads the queues from end to end: for people who look, not for workers. Locks nothing. (A lapsed task's message has
-- been put in front of all others by vt 'epoch': it has not waited that long.)
create or replace function pgflow.queue_depths()
returns table (flow_slug text, ready bigint, waited interval, later bigint)
language plpgsql stable
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_flow_slug text;
begin
  for v_flow_slug in select f.flow_slug from pgflow.flows f order by f.flow_slug loop
    continue when not pgflow._has_queue(v_flow_slug);
    return query execute format(
      'select $1, count(*) filter (where m.vt <= now()), now() - min(m.vt) filter (where m.vt > to_timestamp(0)),
              count(*) filter (where m.vt > now())
         from pgmq.%I m', pgflow._queue_table(v_flow_slug)) using v_flow_slug;
  end loop;
end
$$;
