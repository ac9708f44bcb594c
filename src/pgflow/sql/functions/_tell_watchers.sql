-- Notifies those who watch these runs, or their flows, of what has just happened: of a run where step_slug is null,
-- else of a step. A payload is a JSON array of at most 24 [run_id, flow_slug, event type, step_slug], so that the
-- longest slugs stay within the 8,000 bytes that NOTIFY takes. Locks nothing.
create or replace function pgflow._tell_watchers(p_keys pgflow.step_key[])
returns void
language plpgsql
set search_path to ''
as $$
begin
  perform pgflow._notify('pgflow_events', jsonb_agg(e.event order by e.n)::text)
    from (
      select told.n, (row_number() over (order by told.n) - 1) / 24 as packet,
             jsonb_build_array(told.run_id, told.flow_slug,
                               case when told.step_slug is null then 'run:' || told.status else 'step:' || ss.status end,
                               told.step_slug) as event
        from (
          -- what nobody watches goes no further: most runs
          select k.n, k.run_id, k.step_slug, r.flow_slug, r.status
            from unnest(p_keys) with ordinality as k(run_id, step_slug, n)
           cross join lateral (select x.flow_slug, x.status from pgflow.runs x where x.run_id = k.run_id offset 0) r
           where exists (select from pgflow.watches w where w.subject = k.run_id::text and w.until > now())
              or exists (select from pgflow.watches w where w.subject = r.flow_slug and w.until > now())
          offset 0
        ) told
        left join lateral (
          select x.status from pgflow.step_states x where x.run_id = told.run_id and x.step_slug = told.step_slug offset 0
        ) ss on true
    ) e
   group by e.packet
   order by e.packet;
end
$$;
