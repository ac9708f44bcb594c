-- Wakes who waits for these runs: they have just ended. Locks nothing (NOTIFY itself locks at commit).
create or replace function pgflow._notify_ended(p_run_ids uuid[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform pgflow._notify('pgflow_run', r.run_id || ' ' || case when r.cancelled_at is null then r.status else 'cancelled' end)
     from pgflow.runs r
    where r.run_id = any (p_run_ids);
end
$$;
