-- Per step state that is being worked on: its flow, and whether maps wait for its output (asked of single steps only:
-- a map's own output always is an array). Locks nothing.
create or replace view pgflow._open_steps as
select ss.run_id, ss.step_slug, r.flow_slug,
       s.step_type = 'single' and exists (
         select from pgflow.deps d
           join pgflow.steps child on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug
          where d.flow_slug = r.flow_slug and d.dep_slug = ss.step_slug and child.step_type = 'map'
       ) as feeds_map
  from pgflow.step_states ss
  join pgflow.runs r on r.run_id = ss.run_id
  join pgflow.steps s on s.flow_slug = r.flow_slug and s.step_slug = ss.step_slug
 where r.status = 'started' and ss.status = 'started';
