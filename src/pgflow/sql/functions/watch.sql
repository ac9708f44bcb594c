-- Has events of these runs and flows sent on channel pgflow_events, for so many seconds; watchers repeat it in time,
-- many may share a subject, and only the first of them to come in its second half writes. Locks: watches, by subject;
-- last, those that lapsed are taken away, skip locked.
create or replace function pgflow.watch(run_ids uuid[], flow_slugs text[], seconds double precision)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_span constant interval := make_interval(secs => watch.seconds);
begin
  insert into pgflow.watches as w (subject, until)
  select distinct k.subject, now() + v_span
    from (select r.run_id::text from unnest(watch.run_ids) as r(run_id) union all select unnest(watch.flow_slugs)) k(subject)
   where k.subject is not null
   order by k.subject
      on conflict (subject) do update set until = excluded.until where w.until < excluded.until - v_span / 2;
  delete from pgflow.watches w
   using (select x.subject from pgflow.watches x where x.until <= now() for update skip locked) lapsed
   where w.subject = lapsed.subject;
end
$$;
