-- Who may do what. Applied after everything else, since whatever is replaced loses its rights. Safe to repeat.
--   pgflow_owner   owns all there is of pgflow and pgmq, and alone makes, replaces, deletes and prunes
--   pgflow_worker  works on tasks         } through functions that run with the owner's rights;
--   pgflow_client  starts and stops runs  } tables they only read
--   pgflow_reader  reads
do $rights$
declare
  v_for_workers constant text[] := array[
    'poll_tasks', 'settle_tasks', 'settle_and_poll', 'extend_leases', 'fail_stalled_tasks', 'requeue_stalled_tasks',
    'register_worker', 'mark_worker_stopped', 'start_tasks', 'complete_task', 'fail_task', 'set_vt_batch',
    'task_handler', 'fire_schedule', 'set_flow_schedules', 'list_flows', 'flow_definition', 'queue_depths'
  ];
  v_for_clients constant text[] := array[
    'start_flow', 'start_flows', 'start_flow_with_states', 'get_run_with_states', 'cancel_run', 'retry_run', 'rerun',
    'pause_flow', 'resume_flow', 'add_schedule', 'pause_schedule', 'resume_schedule', 'run_schedule', 'delete_schedule',
    'list_flows', 'flow_definition', 'watch', 'queue_depths'
  ];
  -- The owner's alone: 'store_dynamic_flow', 'create_dynamic_flow', 'add_dynamic_step', 'prune_dynamic_flows',
  -- 'prunable_dynamic_flows', 'delete_flow_and_data', 'prune_data_older_than', 'count_prunable', and whatever is named
  -- nowhere here.
  -- With the caller's rights: that a flow is the one in the code, everybody may see; to store it, only the owner.
  v_for_both constant text[] := array[
    'ensure_flow_compiled', '_get_flow_shape', '_compare_flow_shapes', 'is_local', 'is_valid_slug', 'calculate_retry_delay'
  ];
  v_object record;
  v_roles text;
begin
  for v_object in
    with ours as (select oid, nspname, nspowner from pg_namespace where nspname in ('pgflow', 'pgmq')),
    objects(kind, name, owner, class, oid) as (
      select 'schema', quote_ident(nspname), nspowner, 'pg_namespace'::regclass, oid from ours
      union all
      select case c.relkind when 'v' then 'view' when 'c' then 'type' else 'table' end, c.oid::regclass::text, c.relowner,
             case when c.relkind = 'c' then 'pg_type' else 'pg_class' end::regclass,
             case when c.relkind = 'c' then c.reltype else c.oid end
        from pg_class c join ours on ours.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'c')
      union all
      select 'routine', p.oid::regprocedure::text, p.proowner, 'pg_proc'::regclass, p.oid
        from pg_proc p join ours on ours.oid = p.pronamespace
    )
    select o.kind, o.name from objects o
     where o.owner <> 'pgflow_owner'::regrole
       and not exists (  -- an extension's
         select from pg_depend d where d.classid = o.class and d.objid = o.oid and d.deptype = 'e')
     order by o.kind <> 'schema'
  loop
    execute format('alter %s %s owner to pgflow_owner', v_object.kind, v_object.name);
  end loop;
  if exists (select from pg_namespace where nspname = 'pgmq' and nspowner <> 'pgflow_owner'::regrole) then
    grant usage, create on schema pgmq to pgflow_owner;
    grant select, insert, update, delete on all tables in schema pgmq to pgflow_owner;
  end if;

  revoke all on all routines in schema pgflow from public, pgflow_worker, pgflow_client, pgflow_reader;
  for v_object in
    select p.oid::regprocedure::text as name, p.proname from pg_proc p where p.pronamespace = 'pgflow'::regnamespace
  loop
    -- Who may make temporary types must not slip his own `text` under what runs with the owner's rights.
    execute format('alter routine %s set search_path to pg_catalog, pg_temp', v_object.name);
    if v_object.proname = any (v_for_workers || v_for_clients || array['create_flow']) then
      execute format('alter routine %s security definer', v_object.name);
    end if;
    v_roles := concat_ws(', ',
      case when v_object.proname = any (v_for_workers || v_for_both) then 'pgflow_worker' end,
      case when v_object.proname = any (v_for_clients || v_for_both) then 'pgflow_client' end);
    if v_roles <> '' then
      execute format('grant execute on routine %s to %s', v_object.name, v_roles);
    end if;
  end loop;

  grant usage on schema pgflow to pgflow_worker, pgflow_client, pgflow_reader;
  grant select on all tables in schema pgflow to pgflow_worker, pgflow_client, pgflow_reader;
  -- How long the queues are; their messages say which task, and nothing more.
  grant usage on schema pgmq to pgflow_reader;
  grant select on all tables in schema pgmq to pgflow_reader;
  alter default privileges for role pgflow_owner in schema pgmq grant select on tables to pgflow_reader;
end
$rights$;
