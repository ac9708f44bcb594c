-- Runs are listed newest first and, of those that start together, by id: without it in the index a page would sort all
-- of a thousand that start_flows has started.
drop index pgflow.runs_by_start;
drop index pgflow.runs_by_flow_and_start;
create index runs_by_start on pgflow.runs (started_at, run_id);
create index runs_by_flow_and_start on pgflow.runs (flow_slug, started_at, run_id);
-- What failed, and what was cancelled, is looked for among everything that went well: without these, by passing over
-- all of it. A run that completes changes no column of theirs, so they cost it nothing.
create index runs_failed_by_start on pgflow.runs (num_nonnulls(cancelled_at), started_at, run_id)
  where failed_at is not null;
create index runs_failed_by_flow_and_start on pgflow.runs (flow_slug, num_nonnulls(cancelled_at), started_at, run_id)
  where failed_at is not null;
