-- Who settles results may ask for the tasks that follow from them: what settle_and_poll tells _send_tasks, through all
-- that lies between (whose worker, the flows that it serves, how many more tasks it takes, and for how many seconds
-- each is leased), and the steps whose tasks it was given.
create type pgflow.handing_over as (
  worker_id uuid,
  flow_slugs text[],
  qty int,
  lease int,
  steps pgflow.started_step[]
);
