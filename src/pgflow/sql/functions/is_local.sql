-- Whether this is a developer's local Supabase stack, told by its well-known secret. Locks nothing.
create or replace function pgflow.is_local()
returns boolean
language sql stable
set search_path to ''
as $$
  select coalesce(
    current_setting('app.settings.jwt_secret', true)
      = 'super-secret-jwt-token-with-at-least-32-characters-long',
    false
  )
$$;
