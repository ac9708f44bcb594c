-- Per step state the object {dep_slug: output} of its completed dependencies; a skipped one's key is absent.
-- A view, so that the planner sees through it and only looks at the rows asked for. Locks nothing.
create or replace view pgflow._step_inputs as
select ss.run_id, ss.step_slug,
       coalesce(
         (select jsonb_object_agg(d.dep_slug, coalesce(up.output, 'null'))
            from pgflow.deps d
           cross join lateral (
             select x.output
               from pgflow.step_states x
              where x.run_id = ss.run_id and x.step_slug = d.dep_slug and x.status = 'completed' offset 0
           ) up
           where d.flow_slug = ss.flow_slug and d.step_slug = ss.step_slug),
         '{}'
       ) as input
  from pgflow.step_states ss;
