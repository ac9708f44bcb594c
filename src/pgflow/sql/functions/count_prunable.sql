-- What prune_data_older_than would delete. Reads all that it would read; locks nothing.
create or replace function pgflow.count_prunable(retention_interval interval)
returns table (runs bigint, tasks bigint, archived_messages bigint, workers bigint)
language plpgsql stable
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_cutoff constant timestamptz := now() - retention_interval;
  v_archive text;
  v_count bigint;
begin
  runs := (select count(*) from pgflow.runs r where r.completed_at < v_cutoff or r.failed_at < v_cutoff);
  tasks := (select count(*) from pgflow.runs r join pgflow.step_tasks t on t.run_id = r.run_id
             where r.completed_at < v_cutoff or r.failed_at < v_cutoff);
  workers := (select count(*) from pgflow.workers w where w.last_heartbeat_at < v_cutoff);
  archived_messages := 0;
  for v_archive in
    select pgflow._archive_table(f.flow_slug) from pgflow.flows f where pgflow._has_queue(f.flow_slug)
  loop
    execute format('select count(*) from pgmq.%I where archived_at < $1', v_archive) into v_count using v_cutoff;
    archived_messages := archived_messages + v_count;
  end loop;
  return next;
end
$$;
