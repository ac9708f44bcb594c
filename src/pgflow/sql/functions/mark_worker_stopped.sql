-- A worker ended by itself. Locks: its row.
create or replace function pgflow.mark_worker_stopped(worker_id uuid)
returns void
language sql
set search_path to ''
as $$
  update pgflow.workers w set stopped_at = clock_timestamp() where w.worker_id = mark_worker_stopped.worker_id
$$;
