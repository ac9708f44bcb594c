-- Announces a worker of ours, whose tasks are leased for so many seconds. Locks: its row.
create or replace function pgflow.register_worker(
  worker_id uuid,
  queue_name text,
  function_name text,
  lease int
)
returns void
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
begin
  perform pgflow._note_outage(register_worker.lease);
  insert into pgflow.workers (worker_id, queue_name, function_name, lease)
  values (register_worker.worker_id, register_worker.queue_name, register_worker.function_name, register_worker.lease)
  on conflict (worker_id) do update
    set queue_name = excluded.queue_name, function_name = excluded.function_name, lease = excluded.lease,
        last_heartbeat_at = now(), stopped_at = null;
end
$$;
