-- Supabase: schedules requeue_stalled_tasks. Locks nothing of ours.
create or replace function pgflow.setup_requeue_stalled_tasks_cron(cron_interval text default '15 seconds')
returns text
language sql
set search_path to ''
as $$
  select format(
    'Scheduled pgflow_requeue_stalled_tasks (every %s, job_id=%s)',
    cron_interval,
    pgflow._reschedule_cron(
      'pgflow_requeue_stalled_tasks', cron_interval, 'select pgflow.requeue_stalled_tasks()'))
$$;
