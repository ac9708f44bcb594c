-- Removes a flow with its queue, archive, runs and history.
-- Locks: the flow, then its runs, step states, tasks and messages.
create or replace function pgflow.delete_flow_and_data(p_flow_slug text)
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform from pgflow.flows f where f.flow_slug = p_flow_slug for update;
  perform from pgflow.runs r where r.flow_slug = p_flow_slug order by r.run_id for no key update;

  delete from pgflow.step_tasks t
   using pgflow.runs r where r.flow_slug = p_flow_slug and t.run_id = r.run_id;
  delete from pgflow.step_states ss
   using pgflow.runs r where r.flow_slug = p_flow_slug and ss.run_id = r.run_id;
  if pgflow._has_queue(p_flow_slug) then
    perform pgmq.drop_queue(p_flow_slug);
  end if;
  delete from pgflow.runs r where r.flow_slug = p_flow_slug;
  delete from pgflow.deps d where d.flow_slug = p_flow_slug;
  delete from pgflow.steps s where s.flow_slug = p_flow_slug;
  delete from pgflow.flows f where f.flow_slug = p_flow_slug;
end
$$;
