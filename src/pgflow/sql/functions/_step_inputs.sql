-- Per step state the object {dep_slug: output} of its completed dependencies; a skipped one's key is absent.
-- A view, so that the planner sees through it and only looks at the rows asked for. Locks nothing.
-- By way of text: jsonb_object_agg measures each text from its start to the next zero byte, to the end of all texts of
-- an array, so that a map's output of 10 MB takes a second, and one of 100 MB minutes (PostgreSQL 18).
create or replace view pgflow._step_inputs as
select ss.run_id, ss.step_slug,
       coalesce(
         (select json_object_agg(d.dep_slug, coalesce(up.output, 'null'))::jsonb
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
