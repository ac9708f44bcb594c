-- Supabase: replaces a cron job and returns its id. Locks nothing of ours.
create or replace function pgflow._reschedule_cron(p_job_name text, p_schedule text, p_command text)
returns bigint
language plpgsql
set search_path to ''
as $$
begin
  begin
    perform cron.unschedule(p_job_name);
  exception when others then
    null; -- there was none
  end;
  return cron.schedule(p_job_name, p_schedule, p_command);
end
$$;
