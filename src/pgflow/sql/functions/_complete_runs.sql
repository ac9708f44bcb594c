-- Completes those of these runs whose steps have all ended. The caller holds the runs.
create or replace function pgflow._complete_runs(p_run_ids uuid[])
returns void
language plpgsql
set search_path to ''
as $$
declare
  v_completed uuid[];
begin
  with completed as (
    update pgflow.runs r
       set status = 'completed',
           completed_at = greatest(now(), r.started_at),
           output = (
             select jsonb_object_agg(ss.step_slug, ss.output)
               from pgflow.step_states ss
              where ss.run_id = r.run_id and ss.status = 'completed'
                and not exists (select from pgflow.deps d
                                 where d.flow_slug = ss.flow_slug and d.dep_slug = ss.step_slug)
           )
     where r.run_id = any (p_run_ids) and r.status = 'started' and r.remaining_steps = 0
    returning r.run_id
  )
  select array_agg(c.run_id order by c.run_id) into v_completed from completed c;
  if v_completed is not null then
    perform pgflow._emit_runs(v_completed);
    perform pgflow._notify_ended(v_completed);
  end if;
end
$$;
