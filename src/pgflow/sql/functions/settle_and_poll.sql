-- settle_tasks and then poll_tasks, in one round trip and one transaction: a busy worker's steady state.
-- The verdicts come with poll's last row, the one without a task.
-- With only_follow_ups nothing is read from queues, for a worker who knows that nothing waits there: it gets the tasks
-- that settling makes, claimed as they are made, of each flow all if so many are wanted and none has to wait, else none.
-- Other workers are told of tasks that settling has sent only if they were not all fetched here.
-- Locks: as settle_tasks, then as poll_tasks, which skips what others hold.
create or replace function pgflow.settle_and_poll(
  worker_id uuid,
  outcomes jsonb,
  flow_slugs text[],
  qty int,
  lease int,
  only_follow_ups boolean default false
)
returns table (
  flow_slug text,
  run_id uuid,
  step_slug text,
  task_index int,
  msg_id bigint,
  input jsonb,
  flow_input jsonb,
  fence bigint,
  attempt int,
  max_attempts int,
  timeout int,
  base_delay int,
  next_visible_in double precision,
  verdicts text[]
)
language plpgsql
set search_path to ''
as $$
#variable_conflict use_column
declare
  v_handed pgflow.handing_over;
  v_sent text[];
  v_rows int;
begin
  if only_follow_ups then
    v_handed := (settle_and_poll.worker_id, flow_slugs, qty, lease, '{}')::pgflow.handing_over;
    perform set_config('pgflow.handing_over', v_handed::text, true);
    verdicts := pgflow.settle_tasks(settle_and_poll.worker_id, outcomes);
    v_handed := nullif(current_setting('pgflow.handing_over'), '')::pgflow.handing_over;
    perform set_config('pgflow.handing_over', '', true);
    if v_handed.steps <> '{}' then
      return query select h.*, null::double precision, null::text[] from pgflow._tasks_handed_over(v_handed.steps) as h;
    end if;
    return next;
    return;
  end if;

  perform set_config('pgflow.to_wake', '{}', true);
  verdicts := pgflow.settle_tasks(settle_and_poll.worker_id, outcomes);
  v_sent := current_setting('pgflow.to_wake');
  perform set_config('pgflow.to_wake', '', true);
  return query
    select p.*, case when p.run_id is null then settle_and_poll.verdicts end
      from pgflow.poll_tasks(flow_slugs, settle_and_poll.worker_id, qty, lease) as p;
  get diagnostics v_rows = row_count;
  perform pgflow._wake_workers(s.flow)
     from unnest(v_sent) as s(flow)
    where v_rows > qty or s.flow <> all (flow_slugs);
end
$$;
