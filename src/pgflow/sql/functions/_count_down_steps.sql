-- So many steps of these runs have just ended (each key one step). The caller holds the runs.
create or replace function pgflow._count_down_steps(p_keys pgflow.step_key[])
returns void
language sql
set search_path to ''
as $$
  update pgflow.runs r
     set remaining_steps = r.remaining_steps - w.ended
    from (select k.run_id, count(*) as ended from unnest(p_keys) as k group by k.run_id) w
   where r.run_id = w.run_id
$$;
