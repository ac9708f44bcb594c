-- Schedules of flows, and the slots of theirs that were fired (engine.md, 1).

-- No reference to flows: a schedule outlives the replacement of its flow. One whose flow is gone says so (error_message).
create table pgflow.schedules (
  schedule_name text primary key
    constraint schedule_name_is_valid check (schedule_name ~ '^[a-zA-Z0-9_.-]{1,100}$'),
  flow_slug text not null,
  cron text not null,
  time_zone text not null default 'UTC',
  input jsonb not null default 'null',
  catch_up text not null default 'last' constraint catch_up_is_valid check (catch_up in ('none', 'last', 'all')),
  -- Who made it: a flow's code, which also changes and removes it, or somebody by hand.
  origin text not null default 'user' constraint origin_is_valid check (origin in ('code', 'user')),
  paused_at timestamptz,
  -- Slots up to here are done with: fired, skipped, or before its time.
  done_until timestamptz not null default clock_timestamp(),
  -- The first slot after that; -infinity until a worker has reckoned it.
  next_at timestamptz not null default '-infinity',
  -- Why its last slot could not be started.
  error_message text,
  created_at timestamptz not null default now()
);
create index schedules_by_next on pgflow.schedules (next_at) where paused_at is null;

-- That a slot is here makes it fire once, whoever tries. Only the latest of each schedule are kept.
create table pgflow.schedule_slots (
  schedule_name text not null references pgflow.schedules (schedule_name) on delete cascade,
  slot timestamptz not null,
  run_id uuid,
  fired_at timestamptz not null default now(),
  primary key (schedule_name, slot)
);
