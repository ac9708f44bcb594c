-- Why a failed run cannot go on from what failed it; null if it can. The caller holds the run.
create or replace function pgflow._why_no_retry(p_run_id uuid)
returns text
language sql stable
set search_path to ''
as $$
  select coalesce(
    (
      select 'rows of its steps or tasks were deleted'
       where not exists (select from pgflow.step_states ss where ss.run_id = p_run_id)
          or exists (
            select from pgflow.step_states ss
             where ss.run_id = p_run_id and ss.status in ('started', 'failed') and ss.started_at is not null
               and ss.initial_tasks <> (select count(*) from pgflow.step_tasks t
                                         where t.run_id = ss.run_id and t.step_slug = ss.step_slug)
          )
    ),
    (
      -- The step that made the array has completed, and what is completed stays.
      select format('Map step "%s" expected %s elements, got %s from step "%s", which has completed (rerun from it)',
                    s.step_slug, s.initial_tasks, ss.initial_tasks, d.dep_slug)
        from pgflow.step_states ss
        join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
        join pgflow.deps d on d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
        join pgflow.step_states up on up.run_id = ss.run_id and up.step_slug = d.dep_slug
       where ss.run_id = p_run_id and ss.status = 'failed' and ss.started_at is null
         and s.initial_tasks <> ss.initial_tasks and up.status = 'completed'
       order by s.step_index
       limit 1
    )
  )
$$;
