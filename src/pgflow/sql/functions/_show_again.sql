-- Tasks of a flow that have just been queued again: their messages become visible, each at its time, and are sent
-- anew where they are gone (a task that was given up has none). Workers are woken.
-- The caller holds the tasks; locks messages by msg_id.
create or replace function pgflow._show_again(p_flow_slug text, p_keys pgflow.task_key[], p_at timestamptz[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform pgflow._send_lost_messages(p_flow_slug, p_keys);
  perform pgflow._set_visible(p_flow_slug, array_agg(t.message_id), array_agg(w.at))
     from unnest(p_keys, p_at) as w(run_id, step_slug, task_index, msg_id, at)
     join pgflow.step_tasks t
       on t.run_id = w.run_id and t.step_slug = w.step_slug and t.task_index = w.task_index;
  perform pgflow._wake_workers(p_flow_slug);
end
$$;
