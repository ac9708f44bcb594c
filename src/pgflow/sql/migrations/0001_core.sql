-- The contract's tables (sql-core.md, 2) with the columns that the engine adds (engine.md, 1).
-- Ours come last in each table, nullable or defaulted, so that foreign inserts keep working.

-- Needed by constraints below, hence here and not among the repeatable functions.
create function pgflow.is_valid_slug(slug text) returns boolean
language sql immutable parallel safe
set search_path to ''
as $$
  select coalesce(length(slug) <= 128 and slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and slug <> 'run', false)
$$;

create table pgflow.flows (
  flow_slug text primary key constraint slug_is_valid check (pgflow.is_valid_slug(flow_slug)),
  opt_max_attempts int not null default 3
    constraint opt_max_attempts_is_nonnegative check (opt_max_attempts >= 0),
  opt_base_delay int not null default 1
    constraint opt_base_delay_is_nonnegative check (opt_base_delay >= 0),
  opt_timeout int not null default 60
    constraint opt_timeout_is_positive check (opt_timeout > 0),
  created_at timestamptz not null default now(),
  -- When a poll last looked for lapsed tasks behind hidden messages.
  looked_at timestamptz,
  -- Since when nothing of it is claimed (pause_flow); null: it is not paused.
  paused_at timestamptz
);

create table pgflow.steps (
  flow_slug text not null references pgflow.flows (flow_slug),
  step_slug text not null check (pgflow.is_valid_slug(step_slug)),
  step_type text not null default 'single' check (step_type in ('single', 'map')),
  step_index int not null default 0,
  deps_count int not null default 0 check (deps_count >= 0),
  opt_max_attempts int constraint opt_max_attempts_is_nonnegative check (opt_max_attempts >= 0),
  opt_base_delay int constraint opt_base_delay_is_nonnegative check (opt_base_delay >= 0),
  opt_timeout int constraint opt_timeout_is_positive check (opt_timeout > 0),
  opt_start_delay int constraint opt_start_delay_is_nonnegative check (opt_start_delay >= 0),
  required_input_pattern jsonb constraint required_input_pattern_is_object
    check (required_input_pattern is null or jsonb_typeof(required_input_pattern) = 'object'),
  forbidden_input_pattern jsonb constraint forbidden_input_pattern_is_object
    check (forbidden_input_pattern is null or jsonb_typeof(forbidden_input_pattern) = 'object'),
  when_unmet text not null default 'skip'
    constraint when_unmet_is_valid check (when_unmet in ('fail', 'skip', 'skip-cascade')),
  when_exhausted text not null default 'fail'
    constraint when_exhausted_is_valid check (when_exhausted in ('fail', 'skip', 'skip-cascade')),
  created_at timestamptz not null default now(),
  -- Root map: so many tasks, whatever the input. Dependent map: the length its array must have.
  initial_tasks int constraint initial_tasks_is_for_maps
    check (initial_tasks is null or (initial_tasks >= 0 and step_type = 'map')),
  primary key (flow_slug, step_slug),
  unique (flow_slug, step_index)
);

create table pgflow.deps (
  flow_slug text not null references pgflow.flows (flow_slug),
  dep_slug text not null,
  step_slug text not null,
  created_at timestamptz not null default now(),
  primary key (flow_slug, dep_slug, step_slug),
  foreign key (flow_slug, dep_slug) references pgflow.steps (flow_slug, step_slug),
  foreign key (flow_slug, step_slug) references pgflow.steps (flow_slug, step_slug),
  check (dep_slug != step_slug)
);
-- The primary key finds a step's dependents; this one its dependencies.
create index deps_by_step on pgflow.deps (flow_slug, step_slug);

create table pgflow.runs (
  run_id uuid primary key default gen_random_uuid(),
  flow_slug text not null references pgflow.flows (flow_slug),
  status text not null default 'started'
    constraint status_is_valid check (status in ('started', 'completed', 'failed')),
  input jsonb not null,
  output jsonb,
  remaining_steps int not null default 0 check (remaining_steps >= 0),
  started_at timestamptz not null default now(),
  completed_at timestamptz,
  failed_at timestamptz,
  error_message text,
  cancelled_at timestamptz,
  parent_run_id uuid,
  idempotency_key text,
  start_at timestamptz,
  constraint completed_at_or_failed_at check (not (completed_at is not null and failed_at is not null)),
  constraint completed_at_is_after_started_at check (completed_at >= started_at),
  constraint failed_at_is_after_started_at check (failed_at >= started_at)
) with (fillfactor = 70);
create unique index runs_idempotency_key on pgflow.runs (flow_slug, idempotency_key)
  where idempotency_key is not null;
create index runs_by_start on pgflow.runs (started_at);
create index runs_by_flow_and_start on pgflow.runs (flow_slug, started_at);

create table pgflow.step_states (
  flow_slug text not null references pgflow.flows (flow_slug),
  run_id uuid not null references pgflow.runs (run_id),
  step_slug text not null,
  status text not null default 'created'
    constraint status_is_valid check (status in ('created', 'started', 'completed', 'failed', 'skipped')),
  remaining_tasks int,
  initial_tasks int check (initial_tasks >= 0),
  remaining_deps int not null default 0 check (remaining_deps >= 0),
  output jsonb,
  error_message text,
  skip_reason text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  skipped_at timestamptz,
  primary key (run_id, step_slug),
  foreign key (flow_slug, step_slug) references pgflow.steps (flow_slug, step_slug),
  constraint remaining_tasks_state_consistency
    check (remaining_tasks is null or status not in ('created', 'skipped')),
  constraint status_and_remaining_tasks_match check (status <> 'completed' or remaining_tasks = 0),
  constraint initial_tasks_known_when_started check (status <> 'started' or initial_tasks is not null),
  constraint output_only_for_completed_or_null check (output is null or status = 'completed'),
  constraint skip_reason_matches_status check ((status = 'skipped') = (skip_reason is not null)),
  constraint completed_at_or_failed_at_or_skipped_at
    check (num_nonnulls(completed_at, failed_at, skipped_at) <= 1),
  constraint started_at_is_after_created_at check (started_at >= created_at),
  constraint skipped_at_is_after_created_at check (skipped_at >= created_at),
  constraint completed_at_is_after_started_at check (completed_at >= started_at),
  constraint failed_at_is_after_started_at check (failed_at >= started_at)
) with (fillfactor = 50);
-- What may hold stalled tasks: small whatever the history, since it loses a step as it ends.
create index step_states_started on pgflow.step_states (run_id, step_slug) where status = 'started';

create table pgflow.workers (
  worker_id uuid primary key,
  queue_name text not null,
  function_name text not null,
  started_at timestamptz not null default now(),
  deprecated_at timestamptz,
  stopped_at timestamptz,
  last_heartbeat_at timestamptz not null default now(),
  lease int
);

create table pgflow.worker_functions (
  function_name text primary key,
  enabled boolean not null default true,
  debounce interval not null default '6 seconds' check (debounce >= interval '1 second'),
  last_invoked_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- The one reference to step_states implies those to runs and flows; last_worker_id refers to nothing, so that
-- a claim costs no look-up and a pruned worker no scan, and says who did the work even then (engine.md, 1).
-- Updates stay HOT: no index covers a column that changes while a task lives, and in each page there is room for
-- a second, larger version of its rows (a whole page is often claimed in one transaction).
create table pgflow.step_tasks (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  message_id bigint,
  task_index int not null default 0,
  status text not null default 'queued'
    constraint valid_status check (status in ('queued', 'started', 'completed', 'failed')),
  attempts_count int not null default 0
    constraint attempts_count_nonnegative check (attempts_count >= 0),
  error_message text,
  output jsonb,
  queued_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  last_worker_id uuid,
  requeued_count int not null default 0,
  last_requeued_at timestamptz,
  permanently_stalled_at timestamptz,
  fence bigint not null default 0,
  settled_fence bigint not null default 0,
  leased_until timestamptz,
  input jsonb,
  constraint step_tasks_pkey primary key (run_id, step_slug, task_index),
  foreign key (run_id, step_slug) references pgflow.step_states (run_id, step_slug),
  constraint output_valid_only_for_completed check (output is null or status in ('completed', 'failed')),
  constraint completed_at_or_failed_at check (not (completed_at is not null and failed_at is not null)),
  constraint started_at_is_after_queued_at check (started_at >= queued_at),
  constraint completed_at_is_after_queued_at check (completed_at >= queued_at),
  constraint failed_at_is_after_queued_at check (failed_at >= queued_at),
  constraint completed_at_is_after_started_at check (completed_at >= started_at),
  constraint failed_at_is_after_started_at check (failed_at >= started_at)
) with (fillfactor = 40);
create index step_tasks_given_up on pgflow.step_tasks (run_id, step_slug, task_index)
  where permanently_stalled_at is not null;

-- One row: until when nothing is judged lapsed, because the database itself was away (engine.md, 2).
create table pgflow.outage (
  only_row boolean primary key default true check (only_row),
  grace_until timestamptz not null default '-infinity'
);
insert into pgflow.outage default values;

create type pgflow.step_task_record as (
  flow_slug text,
  run_id uuid,
  step_slug text,
  input jsonb,
  msg_id bigint,
  task_index int,
  flow_input jsonb
);

-- A step within a run: what the internal functions pass each other, in arrays.
create type pgflow.step_key as (run_id uuid, step_slug text);

-- A task and the message it came by.
create type pgflow.task_key as (run_id uuid, step_slug text, task_index int, msg_id bigint);

-- A task as a worker gets it.
create type pgflow.claimed_task as (
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
  base_delay int
);

-- An outcome as settle_tasks was given it, but for its output: that stays in the array, at place n (from 1).
-- `nth` counts those of one claim.
create type pgflow.outcome as (
  n int,
  nth int,
  run_id uuid,
  step_slug text,
  task_index int,
  fence bigint,
  status text,
  error text,
  permanent boolean,
  retry_in double precision
);

-- An outcome of settle_tasks and what is to be done about it (null: nothing, for the reason in `verdict`).
create type pgflow.judged_outcome as (
  n int,
  run_id uuid,
  step_slug text,
  task_index int,
  flow_slug text,
  msg_id bigint,
  action text,
  verdict text,
  error text,
  visible_in double precision,
  starved_map text
);
