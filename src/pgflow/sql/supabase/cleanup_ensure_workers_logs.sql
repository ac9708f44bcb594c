-- Supabase: forgets old runs of cron jobs; returns how many. Locks nothing of ours.
create or replace function pgflow.cleanup_ensure_workers_logs(retention_hours int default 24)
returns table (cron_deleted bigint)
language plpgsql
set search_path to ''
as $$
begin
  delete from cron.job_run_details d where d.end_time < now() - make_interval(hours => retention_hours);
  get diagnostics cron_deleted = row_count;
  return next;
end
$$;
