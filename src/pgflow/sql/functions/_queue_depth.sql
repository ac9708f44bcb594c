-- How many messages a flow's queue holds, visible or not; 0 where it has no queue. Locks nothing.
create or replace function pgflow._queue_depth(p_flow_slug text)
returns int
language plpgsql
set search_path to ''
as $$
declare
  v_depth int := 0;
begin
  if pgflow._has_queue(p_flow_slug) then
    execute format('select count(*) from pgmq.%I', pgflow._queue_table(p_flow_slug)) into v_depth;
  end if;
  return v_depth;
end
$$;
