-- Sends a new message for each of these tasks whose own is not in the queue, where the run goes on.
-- The caller holds the tasks.
create or replace function pgflow._send_lost_messages(p_flow_slug text, p_keys pgflow.task_key[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_lost pgflow.task_key;
  v_msg_id bigint;
begin
  for v_lost in execute format(
    $q$
      select k.* from unnest($1) as k
       where (select r.status = 'started' from pgflow.runs r where r.run_id = k.run_id)
         -- no join: all of the queue would be read for each, where it was empty when it was last analyzed
         and (select m.msg_id from pgmq.%I m where m.msg_id = k.msg_id) is null
    $q$, pgflow._queue_table(p_flow_slug)
  ) using p_keys
  loop
    select s.send into strict v_msg_id
      from pgmq.send(p_flow_slug, jsonb_build_object(
        'flow_slug', p_flow_slug, 'run_id', v_lost.run_id,
        'step_slug', v_lost.step_slug, 'task_index', v_lost.task_index)) as s(send);
    update pgflow.step_tasks t set message_id = v_msg_id
     where t.run_id = v_lost.run_id and t.step_slug = v_lost.step_slug and t.task_index = v_lost.task_index;
  end loop;
end
$$;
