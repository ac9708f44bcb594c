-- The one place that notifies. Off by `alter database … set pgflow.notify = 'off'`: only latency depends on it.
-- Locks nothing (NOTIFY itself locks at commit).
create or replace function pgflow._notify(p_channel text, p_payload text)
returns void
language sql
set search_path to ''
as $$
  select pg_notify(p_channel, p_payload) where current_setting('pgflow.notify', true) is distinct from 'off'
$$;
