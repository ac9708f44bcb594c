-- Before several runs fail in one call: locks the messages that they will archive, run by run, at once and in
-- order, or two callers might wait for each other (start_tasks holds messages of several runs).
-- The caller holds the runs. Locks: messages, flow by flow.
create or replace function pgflow._lock_open_messages(p_run_ids uuid[])
returns void
language sql
set search_path to ''
as $$
  select pgflow._lock_messages(m.flow_slug, m.msg_ids)
    from (
      select t.flow_slug, array_agg(t.message_id) as msg_ids
        from pgflow.step_tasks t
       where t.run_id = any (p_run_ids) and t.status in ('queued', 'started') and t.message_id is not null
       group by t.flow_slug
       order by t.flow_slug
    ) m
$$;
