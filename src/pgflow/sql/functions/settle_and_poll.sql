-- settle_tasks and then poll_tasks, in one round trip and one transaction: a busy worker's steady state.
-- The verdicts come with poll's last row, the one without a task.
-- Locks: as settle_tasks, then as poll_tasks, which skips what others hold.
create or replace function pgflow.settle_and_poll(
  worker_id uuid,
  outcomes jsonb,
  flow_slugs text[],
  qty int,
  lease int
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
  v_verdicts constant text[] := pgflow.settle_tasks(settle_and_poll.worker_id, outcomes);
begin
  return query
    select p.*, case when p.run_id is null then v_verdicts end
      from pgflow.poll_tasks(flow_slugs, settle_and_poll.worker_id, qty, lease) as p;
end
$$;
