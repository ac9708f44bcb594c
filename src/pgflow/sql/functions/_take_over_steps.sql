-- Makes the step states of a rerun: those kept stand as they ended in its parent (without their tasks: what comes
-- after a step needs its output only), all others as in a new run; none waits for what is kept. One that was skipped
-- may still count a step that runs.
-- The caller holds the parent; nobody knows the new run yet.
create or replace function pgflow._take_over_steps(p_run_id uuid, p_parent_run_id uuid, p_kept text[])
returns void
language sql
set search_path to ''
as $$
  insert into pgflow.step_states (flow_slug, run_id, step_slug, status, initial_tasks, remaining_tasks,
                                  remaining_deps, output, error_message, skip_reason,
                                  started_at, completed_at, skipped_at)
  select r.flow_slug, r.run_id, s.step_slug, coalesce(old.status, 'created'),
         case when old.run_id is not null then old.initial_tasks
              when s.step_type = 'single' then 1
              when s.deps_count = 0 then coalesce(s.initial_tasks, jsonb_array_length(r.input))
              else (select case when jsonb_typeof(up.output) = 'array' then jsonb_array_length(up.output) else 0 end
                      from pgflow.deps d
                      join pgflow.step_states up on up.run_id = p_parent_run_id and up.step_slug = d.dep_slug
                     where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug and d.dep_slug = any (p_kept))
         end,
         case when old.status = 'completed' then 0 end,
         (select count(*) from pgflow.deps d
           where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug and d.dep_slug <> all (p_kept)),
         old.output, old.error_message, old.skip_reason,
         case when old.status = 'completed' then now() end,
         case when old.status = 'completed' then now() end,
         case when old.status = 'skipped' then now() end
    from pgflow.runs r
    join pgflow.steps s on s.flow_slug = r.flow_slug
    left join pgflow.step_states old
      on old.run_id = p_parent_run_id and old.step_slug = s.step_slug and s.step_slug = any (p_kept)
   where r.run_id = p_run_id
   order by s.step_index
$$;
