-- Supabase: schedules ensure_workers and the hourly clean-up of its logs. Locks nothing of ours.
create or replace function pgflow.setup_ensure_workers_cron(cron_interval text default '1 second')
returns text
language sql
set search_path to ''
as $$
  select format(
    'Scheduled pgflow_ensure_workers (every %s, job_id=%s) and pgflow_cleanup_logs (hourly, job_id=%s)',
    cron_interval,
    pgflow._reschedule_cron('pgflow_ensure_workers', cron_interval, 'select pgflow.ensure_workers()'),
    pgflow._reschedule_cron('pgflow_cleanup_logs', '0 * * * *', 'select pgflow.cleanup_ensure_workers_logs()'))
$$;
