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
      join pgflow.step_states ss on ss.run_id = k.run_id and ss.step_slug = k.step_slug
    union
    select r.flow_slug, r.run_id, d.step_slug
      from reached r
      join pgflow.deps d on d.flow_slug = r.flow_slug and d.dep_slug = r.step_slug
  ),
  locked as (
    select ss.run_id, ss.step_slug
      from reached r
      join pgflow.step_states ss on ss.run_id = r.run_id and ss.step_slug = r.step_slug
     where ss.status in ('created', 'started')
     order by ss.run_id, ss.step_slug
       for no key update of ss
  )
  select array_agg((l.run_id, l.step_slug)::pgflow.step_key) into v_reached from locked l;
  if v_reached is null then
    return 0;
  end if;

  perform pgflow._archive_open_tasks(v_reached);
  with skipped as (
    update pgflow.step_states ss
       set status = 'skipped',
           skip_reason = case when root.run_id is not null then p_reason else 'dependency_skipped' end,
           error_message = case when root.run_id is not null then p_error end,
           skipped_at = greatest(now(), ss.created_at),
           remaining_tasks = null
      from unnest(v_reached) as k
      left join unnest(p_keys) as root on root.run_id = k.run_id and root.step_slug = k.step_slug
     where ss.run_id = k.run_id and ss.step_slug = k.step_slug
    returning ss.flow_slug, ss.run_id, ss.step_slug
  )
  select array_agg((x.run_id, x.step_slug)::pgflow.step_key order by x.run_id, s.step_index)
    into v_skipped
    from skipped x
    join pgflow.steps s on s.flow_slug = x.flow_slug and s.step_slug = x.step_slug;
  perform pgflow._emit_steps(v_skipped);
  perform pgflow._count_down_steps(v_skipped);
  return cardinality(v_skipped);
end
$$;
