-- When the first message of each of these flows is or becomes visible (null: the queue is empty), in their order.
-- One statement for all: of many flows most are idle, and this is all that they cost. Locks nothing.
create or replace function pgflow._first_visible(p_flow_slugs text[])
returns timestamptz[]
language plpgsql
set search_path to ''
as $$
declare
  v_at timestamptz[];
begin
  execute (
    select format('select array[%s]', string_agg(
             format('(select m.vt from pgmq.%I m order by m.vt limit 1)', pgflow._queue_table(f.slug)), ', '
             order by f.n))
      from unnest(p_flow_slugs) with ordinality as f(slug, n)
  ) into v_at;
  return v_at;
end
$$;
