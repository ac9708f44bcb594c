-- Seconds until the next attempt: base_delay doubled with each attempt made. Locks nothing.
create or replace function pgflow.calculate_retry_delay(base_delay numeric, attempts_count int)
returns int
language sql immutable parallel safe
set search_path to ''
as $$
  select floor(base_delay * power(2::numeric, attempts_count))::int
$$;
