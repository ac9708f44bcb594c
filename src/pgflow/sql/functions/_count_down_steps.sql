-- These steps have just ended (a key without a step only asks about its run): their runs count down and, if that is
-- allowed, complete once all their steps have ended, with the output of their leaves.
-- The caller holds the runs and has told of the steps.
create or replace function pgflow._count_down_steps(p_keys pgflow.step_key[], p_may_complete boolean)
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_completed uuid[];
begin
  with counted as (
    update pgflow.runs r
       set remaining_steps = r.remaining_steps - w.ended,
           status = case when c.completes then 'completed' else r.status end,
           completed_at = case when c.completes then greatest(now(), r.started_at) else r.completed_at end,
           output = case when c.completes then (
             select json_object_agg(ss.step_slug, ss.output)::jsonb  -- see _step_inputs.sql
               from pgflow.step_states ss
              where ss.run_id = r.run_id and ss.status = 'completed'
                and not exists (select from pgflow.deps d
                                 where d.flow_slug = ss.flow_slug and d.dep_slug = ss.step_slug)
           ) else r.output end
      from (select k.run_id, count(k.step_slug) as ended from unnest(p_keys) as k group by k.run_id) w
     cross join lateral (
       select p_may_complete and x.status = 'started' and x.remaining_steps = w.ended as completes
         from pgflow.runs x where x.run_id = w.run_id offset 0
     ) c
     where r.run_id = w.run_id and (w.ended > 0 or c.completes)
    returning r.run_id, c.completes
  )
  select array_agg(c.run_id order by c.run_id) filter (where c.completes) into v_completed from counted c;
  if v_completed is not null then
    perform pgflow._emit_runs(v_completed);
    perform pgflow._notify_ended(v_completed);
  end if;
end
$$;
