-- The tasks of a flow that have these messages. What a message says leads to its task, wherever the message is now;
-- but the task's row decides. Where a message is gone, or was never sent by us, the tasks of all steps under way are
-- looked through. Locks nothing.
create or replace function pgflow._tasks_with(p_flow_slug text, p_msg_ids bigint[])
returns pgflow.task_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_tasks pgflow.task_key[] := '{}';
  v_left bigint[] := p_msg_ids;
  v_table text;
begin
  foreach v_table in array array[pgflow._queue_table(p_flow_slug), pgflow._archive_table(p_flow_slug)] loop
    v_tasks := v_tasks || array(
      select k from unnest(pgflow._keys_in(v_table, v_left)) as k
       where (
         select t.message_id = k.msg_id and t.flow_slug = p_flow_slug
           from pgflow.step_tasks t
          where t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index
       )
    );
    v_left := array(select i from unnest(p_msg_ids) as i except select k.msg_id from unnest(v_tasks) as k);
    if v_left = '{}' then
      return v_tasks;
    end if;
  end loop;
  return v_tasks || array(
    select (t.run_id, t.step_slug, t.task_index, t.message_id)::pgflow.task_key
      from pgflow.step_states ss
      join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
     where ss.status = 'started' and ss.flow_slug = p_flow_slug and t.status = 'queued' and t.message_id = any (v_left)
  );
end
$$;
