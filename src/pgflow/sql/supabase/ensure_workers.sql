-- Supabase: pings worker functions that are due, by net.http_post. Locks: the rows of those it pings, passing over
-- what an overlapping call holds.
create or replace function pgflow.ensure_workers()
returns table (function_name text, invoked boolean, request_id bigint)
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_local constant boolean := pgflow.is_local();
  v_key text;
  v_project text;
begin
  if not v_local then
    select nullif(max(s.decrypted_secret) filter (where s.name = 'pgflow_auth_secret'), ''),
           nullif(max(s.decrypted_secret) filter (where s.name = 'supabase_project_id'), '')
      into v_key, v_project
      from vault.decrypted_secrets s;
    v_key := coalesce(v_key, (select nullif(s.decrypted_secret, '') from vault.decrypted_secrets s
                               where s.name = 'supabase_service_role_key' limit 1));
    if v_key is null or v_project is null then
      return;
    end if;
  end if;

  return query
    with due as materialized (
      select f.function_name
        from pgflow.worker_functions f
       where f.enabled
         and (v_local
              or ((f.last_invoked_at is null or f.last_invoked_at < now() - f.debounce)
                  and not exists (
                    select from pgflow.workers w
                     where w.function_name = f.function_name and w.stopped_at is null and w.deprecated_at is null
                       and w.last_heartbeat_at > now() - f.debounce)))
         for no key update of f skip locked
    ),
    sent as (
      select d.function_name,
             net.http_post(
               url => case when v_local then 'http://kong:8000/functions/v1/' || d.function_name
                 else format('https://%s.supabase.co/functions/v1/%s', v_project, d.function_name) end,
               headers => case when v_local then '{}'::jsonb
                 else jsonb_build_object('Content-Type', 'application/json', 'Authorization', 'Bearer ' || v_key) end,
               body => '{}'::jsonb
             ) as request_id
        from due d
    ),
    noted as (
      update pgflow.worker_functions f set last_invoked_at = clock_timestamp()
        from sent s where f.function_name = s.function_name
      returning f.function_name, s.request_id
    )
    select n.function_name, true, n.request_id from noted n;
end
$$;
