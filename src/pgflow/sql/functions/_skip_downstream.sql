-- Skips these steps (with this reason) and all that come after them ('dependency_skipped'); each step once,
-- however many paths lead to it. Passes over terminal steps but goes on to what comes after them.
-- Returns how many were skipped. The caller holds the runs; locks step states by run and slug, then messages.
create or replace function pgflow._skip_downstream(
  p_keys pgflow.step_key[],
  p_reason text,
  p_error text default null
)
returns int
language plpgsql
set search_path to ''
as $$
declare
  v_reached pgflow.step_key[];
  v_skipped pgflow.step_key[];
begin
  with recursive reached as (
    select ss.flow_slug, ss.run_id, ss.step_slug
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug, x.run_id, x.step_slug
         from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
     ) ss
    union
    select r.flow_slug, r.run_id, d.step_slug
      from reached r
     cross join lateral (
       select x.step_slug from pgflow.deps x where x.flow_slug = r.flow_slug and x.dep_slug = r.step_slug offset 0
     ) d
  ),
  locked as (
    select ss.run_id, ss.step_slug
      from (select x.run_id, x.step_slug from reached x order by x.run_id, x.step_slug) r
     cross join lateral (
       select x.run_id, x.step_slug
         from pgflow.step_states x
        where x.run_id = r.run_id and x.step_slug = r.step_slug and x.status in ('created', 'started')
          for no key update
     ) ss
  )
  select array_agg((l.run_id, l.step_slug)::pgflow.step_key) into v_reached from locked l;
  if v_reached is null then
    return 0;
  end if;

  perform pgflow._archive_open_tasks(v_reached);
  with skipped as (
    update pgflow.step_states ss
       set status = 'skipped',
           skip_reason = case when w.is_root then p_reason else 'dependency_skipped' end,
           error_message = case when w.is_root then p_error end,
           skipped_at = greatest(now(), ss.created_at),
           remaining_tasks = null
      from (
        -- grouped, not joined: two arrays have no index
        select k.run_id, k.step_slug, bool_or(k.is_root) as is_root
          from (select r.run_id, r.step_slug, false as is_root from unnest(v_reached) as r
                union all
                select g.run_id, g.step_slug, true from unnest(p_keys) as g) k
         group by k.run_id, k.step_slug
        having not bool_and(k.is_root)
      ) w
     where ss.run_id = w.run_id and ss.step_slug = w.step_slug
    returning ss.flow_slug, ss.run_id, ss.step_slug
  )
  select array_agg((x.run_id, x.step_slug)::pgflow.step_key order by x.run_id, s.step_index)
    into v_skipped
    from skipped x
   cross join lateral (
     select y.step_index from pgflow.steps y where y.flow_slug = x.flow_slug and y.step_slug = x.step_slug offset 0
   ) s;
  perform pgflow._emit_steps(v_skipped);
  perform pgflow._count_down_steps(v_skipped, false);
  return cardinality(v_skipped);
end
$$;
