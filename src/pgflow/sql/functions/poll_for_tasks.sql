-- Deprecated by the contract: reads nothing. Locks nothing.
create or replace function pgflow.poll_for_tasks(
  queue_name text,
  vt int,
  qty int,
  max_poll_seconds int default 5,
  poll_interval_ms int default 100
)
returns setof pgflow.step_task_record
language plpgsql
set search_path to ''
as $$
begin
  raise notice 'pgflow.poll_for_tasks is deprecated and returns nothing: use pgmq.read_with_poll and pgflow.start_tasks';
end
$$;
