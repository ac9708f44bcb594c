-- Flows that are made by data at run time, and steps that name the function which works on them.

-- When a flow was stored as data, or last changed so; null: it comes from code.
alter table pgflow.flows add column dynamic_at timestamptz;

-- The name of the function that works on the step's tasks; null: the step's slug.
alter table pgflow.steps add column handler text;
