-- Notes a worker function (of other implementations), or that it was seen again. Locks: its row.
create or replace function pgflow.track_worker_function(function_name text)
returns void
language sql
set search_path to ''
as $$
  insert into pgflow.worker_functions as f (function_name, updated_at)
  values (track_worker_function.function_name, clock_timestamp())
  on conflict (function_name) do update set updated_at = clock_timestamp()
$$;
