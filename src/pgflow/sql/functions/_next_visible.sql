-- When the next message of a flow that is not visible yet becomes so; null if there is none. Locks nothing.
create or replace function pgflow._next_visible(p_flow_slug text)
returns timestamptz
language plpgsql
set search_path to ''
as $$
declare
  v_at timestamptz;
begin
  execute format('select m.vt from pgmq.%I m where m.vt > $1 order by m.vt limit 1',
                 pgflow._queue_table(p_flow_slug))
    into v_at using clock_timestamp();
  return v_at;
end
$$;
