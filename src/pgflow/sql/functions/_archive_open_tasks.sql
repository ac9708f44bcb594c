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
       cross join lateral (
         select x.flow_slug, x.message_id
           from pgflow.step_tasks x
          where x.run_id = k.run_id and x.step_slug = k.step_slug
            and x.status in ('queued', 'started') and x.message_id is not null
         offset 0
       ) t
       group by t.flow_slug
       order by t.flow_slug
    ) m
$$;
