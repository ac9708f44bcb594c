-- What somebody is watching just now: a run (its id) or a flow (its slug; the two never look alike), until when.
-- Unlogged: lost in a crash, it is made anew by whoever still watches.
create unlogged table pgflow.watches (
  subject text primary key,
  until timestamptz not null
) with (fillfactor = 50);
