-- Per step state that is being worked on: its flow, and whether maps wait for its output. Locks nothing.
create or replace view pgflow._open_steps as
select ss.run_id, ss.step_slug, r.flow_slug, s.feeds_map
  from pgflow.step_states ss
  join pgflow.runs r on r.run_id = ss.run_id
  join pgflow._defined_steps s on s.flow_slug = r.flow_slug and s.step_slug = ss.step_slug
 where r.status = 'started' and ss.status = 'started';
