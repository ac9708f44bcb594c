-- When the last silence of all workers was noted: a second one may begin while the first is still forgiven.
alter table pgflow.outage add column noted_at timestamptz;
