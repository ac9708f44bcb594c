-- Archives the messages of all queued and started tasks of these steps, so that none is ever started.
-- The rows of the tasks stay as they are (engine.md, 5). Locks: messages, flow by flow.
create or replace function pgflow._archive_open_tasks(p_keys pgflow.step_key[])
returns void
language sql
set search_path to ''
as $$
  select pgflow._archive_messages(m.flow_slug, m.msg_ids)
    from (
      select t.flow_slug, array_agg(t.message_id) as msg_ids
        from unnest(p_keys) as k
        join pgflow.step_tasks t on t.run_id = k.run_id and t.step_slug = k.step_slug
       where t.status in ('queued', 'started') and t.message_id is not null
       group by t.flow_slug
       order by t.flow_slug
    ) m
$$;
