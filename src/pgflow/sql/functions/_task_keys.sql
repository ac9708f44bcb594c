-- What messages of a flow's queue say which task they are for; a message that says nothing of the kind gives
-- a key without a run. Locks nothing.
create or replace function pgflow._task_keys(p_flow_slug text, p_msg_ids bigint[])
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_keys pgflow.task_key[];
begin
  execute format(
    $q$
      select array_agg((
               case when m.message ->> 'run_id' ~ '^[0-9a-f-]{36}$' then (m.message ->> 'run_id')::uuid end,
               m.message ->> 'step_slug',
               case when m.message ->> 'task_index' ~ '^[0-9]{1,9}$' then (m.message ->> 'task_index')::int end,
               m.msg_id)::pgflow.task_key order by m.msg_id)
        from pgmq.%I m
       where m.msg_id = any ($1)
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_keys using p_msg_ids;
  return coalesce(v_keys, '{}');
end
$$;
