-- Per started task when its worker's hold on it ends: the lease's end or, for a worker without leases, the contract's
-- timeout + 30 s. Locks nothing. (Named so that it comes after _task_options, which it reads.)
create or replace view pgflow._worker_holds as
select t.run_id, t.step_slug, t.task_index,
       coalesce(t.leased_until, t.started_at + make_interval(secs => o.timeout + 30)) as at,
       -- Its worker is gone, or the handler had its time: a stall. Otherwise only an answer was lost.
       t.started_at + make_interval(secs => o.timeout + 2) < clock_timestamp()
         or not exists (
           select from pgflow.workers w
            where w.worker_id = t.last_worker_id and w.stopped_at is null
              and w.last_heartbeat_at >= clock_timestamp() - make_interval(secs => w.lease / 2.0)
         ) as is_stall
  from pgflow.step_tasks t
  join pgflow._task_options o on o.flow_slug = t.flow_slug and o.step_slug = t.step_slug
 where t.status = 'started';
