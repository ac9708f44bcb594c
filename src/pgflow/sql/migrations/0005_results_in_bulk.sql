-- Results that were stored, of one flow: the outcomes' places (from 1), the messages, and per task its step.
create type pgflow.stored_results as (
  flow_slug text,
  places int[],
  msg_ids bigint[],
  keys pgflow.step_key[]
);

-- Their only caller now goes another way.
drop function if exists pgflow._complete_tasks(uuid, pgflow.judged_outcome[], jsonb);
delete from pgflow.schema_functions where name = '_complete_tasks';
