-- The four roles, none of which can log in: people grant them to logins of their own. Safe to repeat. Where the migrating
-- role may not do this, it is told what to ask an administrator for.
do $roles$
declare
  v_names constant text[] := array['pgflow_owner', 'pgflow_worker', 'pgflow_client', 'pgflow_reader'];
  v_name text;
begin
  if to_regnamespace('realtime') is not null then
    raise exception 'pgflow''s roles are not for Supabase, which has roles of its own: grant rights to those'
      using errcode = 'feature_not_supported';
  end if;
  begin
    foreach v_name in array v_names loop
      continue when to_regrole(v_name) is not null;
      begin
        execute format('create role %I', v_name);
      exception when duplicate_object or unique_violation then
        null;  -- the migration of another database was faster
      end;
    end loop;
    if not has_database_privilege('pgflow_owner', current_database(), 'create') then
      -- who owns a schema must be allowed to make one
      execute format('grant create on database %I to pgflow_owner', current_database());
    end if;
    if not pg_has_role('pgflow_owner', 'usage') then
      execute format('grant pgflow_owner to %I', current_user);
    end if;
  exception when insufficient_privilege then
    null;
  end;
  if exists (select from unnest(v_names) as n(name) where to_regrole(n.name) is null)
     or not has_database_privilege('pgflow_owner', current_database(), 'create')
     or not pg_has_role('pgflow_owner', 'usage')
  then
    raise exception using errcode = 'insufficient_privilege', message = format(
      'the role %1$I may not make pgflow''s roles; nothing was changed: have an administrator run `%2$s '
      'grant create on database %3$I to pgflow_owner; grant pgflow_owner to %1$I;` here, then repeat',
      current_user,
      (select string_agg(format('create role %I;', n.name), ' ' order by n.i) from unnest(v_names) with ordinality as n(name, i)
        where to_regrole(n.name) is null),
      current_database());
  end if;
end
$roles$;
