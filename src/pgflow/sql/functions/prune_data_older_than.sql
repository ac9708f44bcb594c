-- Deletes what is older than an interval: workers not heard of, runs that ended with all they have, archived
-- messages. Runs still going stay however old.
-- Locks: the runs by run_id, their tasks, then messages and what else is deleted.
create or replace function pgflow.prune_data_older_than(retention_interval interval)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_cutoff constant timestamptz := now() - retention_interval;
  v_run_ids uuid[];
  v_queue record;
begin
  delete from pgflow.workers w where w.last_heartbeat_at < v_cutoff;

  v_run_ids := array(
    select r.run_id from pgflow.runs r
     where r.completed_at < v_cutoff or r.failed_at < v_cutoff
     order by r.run_id for no key update
  );
  for v_queue in
    with gone as (
      delete from pgflow.step_tasks t using unnest(v_run_ids) as w(run_id) where t.run_id = w.run_id
      returning t.flow_slug, t.message_id
    )
    select g.flow_slug, array_agg(g.message_id) as msg_ids
      from gone g
     where g.message_id is not null and pgflow._has_queue(g.flow_slug)
     group by g.flow_slug
     order by g.flow_slug
  loop
    perform pgmq.delete(v_queue.flow_slug, v_queue.msg_ids);
  end loop;
  delete from pgflow.step_states ss using unnest(v_run_ids) as w(run_id) where ss.run_id = w.run_id;
  delete from pgflow.runs r using unnest(v_run_ids) as w(run_id) where r.run_id = w.run_id;

  for v_queue in
    select pgflow._archive_table(f.flow_slug) as archive
      from pgflow.flows f where pgflow._has_queue(f.flow_slug) order by f.flow_slug
  loop
    execute format('delete from pgmq.%I where archived_at < $1', v_queue.archive) using v_cutoff;
  end loop;
end
$$;
