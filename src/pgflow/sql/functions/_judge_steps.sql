-- Judges ready steps, and those that become ready by a skip, until nothing changes. Returns the ones that may
-- go on (of a run that failed meanwhile none does, whatever is returned). The caller holds the runs.
create or replace function pgflow._judge_steps(p_keys pgflow.step_key[])
returns pgflow.step_key[]
language plpgsql
set search_path to ''
as $$
declare
  v_pending pgflow.step_key[] := p_keys;
  v_met pgflow.step_key[] := '{}';
  v_unmet pgflow.step_key[];
  v_failing pgflow.step_key[];
  v_errors text[];
  v_skip pgflow.step_key[];
  v_cascade pgflow.step_key[];
begin
  while cardinality(v_pending) > 0 loop
    -- One failing step, the first by index, ends its run and with it whatever else of it is unmet.
    select array_agg(w.key),
           array_agg(w.key order by w.run_id) filter (where w.nth = 1 and w.run_fails),
           array_agg(w.error order by w.run_id) filter (where w.nth = 1 and w.run_fails),
           array_agg(w.key order by w.run_id, w.step_index) filter (where w.action = 'skip' and not w.run_fails),
           array_agg(w.key order by w.run_id, w.step_index)
             filter (where w.action = 'skip-cascade' and not w.run_fails)
      into v_unmet, v_failing, v_errors, v_skip, v_cascade
      from (
        select (u.run_id, u.step_slug)::pgflow.step_key as key, u.*,
               bool_or(u.action = 'fail') over (partition by u.run_id) as run_fails,
               row_number() over (partition by u.run_id order by u.action <> 'fail', u.step_index) as nth
          from pgflow._unmet_steps(v_pending) u
      ) w;
    if v_unmet is null then
      return v_met || v_pending;
    end if;

    for i in 1 .. coalesce(cardinality(v_failing), 0) loop
      perform pgflow._fail_step_and_run(v_failing[i].run_id, v_failing[i].step_slug, v_errors[i]);
    end loop;
    v_met := v_met || array(
      select (m.run_id, m.step_slug)::pgflow.step_key
        from (select * from unnest(v_pending) except select * from unnest(v_unmet)) m
    );
    v_pending := '{}';
    if v_skip is not null then
      v_pending := pgflow._skip_steps(v_skip, 'condition_unmet');
    end if;
    if v_cascade is not null then
      perform pgflow._skip_downstream(v_cascade, 'condition_unmet');
    end if;
  end loop;
  return v_met;
end
$$;
