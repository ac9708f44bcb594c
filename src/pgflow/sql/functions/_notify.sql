-- The one place that notifies. Off by `alter database … set pgflow.notify = 'off'`: only latency depends on it.
-- Locks nothing (NOTIFY itself locks at commit).
create or replace function pgflow._notify(p_channel text, p_payload text)
returns void
language plpgsql
set search_path to ''
as $$
begin
  if current_setting('pgflow.notify', true) is distinct from 'off' then
    perform pg_notify(p_channel, p_payload);
  end if;
end
$$;
