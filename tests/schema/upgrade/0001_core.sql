-- taken at 2026-11-25 22:53:01.798701+00
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
CREATE SCHEMA pgflow;


CREATE SCHEMA pgmq;


CREATE TYPE pgflow.claimed_task AS (
	flow_slug text,
	run_id uuid,
	step_slug text,
	task_index integer,
	msg_id bigint,
	input jsonb,
	flow_input jsonb,
	fence bigint,
	attempt integer,
	max_attempts integer,
	timeout integer,
	base_delay integer
);


CREATE TYPE pgflow.judged_outcome AS (
	n integer,
	run_id uuid,
	step_slug text,
	task_index integer,
	flow_slug text,
	msg_id bigint,
	action text,
	verdict text,
	error text,
	visible_in double precision,
	starved_map text
);


CREATE TYPE pgflow.outcome AS (
	n integer,
	nth integer,
	run_id uuid,
	step_slug text,
	task_index integer,
	fence bigint,
	status text,
	error text,
	permanent boolean,
	retry_in double precision
);


CREATE TYPE pgflow.step_key AS (
	run_id uuid,
	step_slug text
);


CREATE TYPE pgflow.step_task_record AS (
	flow_slug text,
	run_id uuid,
	step_slug text,
	input jsonb,
	msg_id bigint,
	task_index integer,
	flow_input jsonb
);


CREATE TYPE pgflow.task_key AS (
	run_id uuid,
	step_slug text,
	task_index integer,
	msg_id bigint
);


CREATE TYPE pgmq.message_record AS (
	msg_id bigint,
	read_ct integer,
	enqueued_at timestamp with time zone,
	last_read_at timestamp with time zone,
	vt timestamp with time zone,
	message jsonb,
	headers jsonb
);


CREATE TYPE pgmq.metrics_result AS (
	queue_name text,
	queue_length bigint,
	newest_msg_age_sec integer,
	oldest_msg_age_sec integer,
	total_messages bigint,
	scrape_time timestamp with time zone,
	queue_visible_length bigint,
	default_partition_length bigint
);


CREATE TYPE pgmq.queue_record AS (
	queue_name character varying,
	is_partitioned boolean,
	is_unlogged boolean,
	created_at timestamp with time zone
);


CREATE FUNCTION pgflow._advance(p_run_ids uuid[], p_ready pgflow.step_key[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_ready pgflow.step_key[] := p_ready;
  v_met pgflow.step_key[] := '{}';
begin
  while cardinality(v_ready) > 0 loop
    v_ready := pgflow._judge_steps(v_ready);
    v_met := v_met || v_ready;
    v_ready := (pgflow._complete_taskless_steps(v_ready)).ready;
  end loop;
  if cardinality(v_met) > 0 then
    perform pgflow._start_steps(v_met);
  end if;
  perform pgflow._complete_runs(p_run_ids);
end
$$;


CREATE FUNCTION pgflow._archive_messages(p_flow_slug text, p_msg_ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if cardinality(p_msg_ids) > 0 then
    perform pgflow._lock_messages(p_flow_slug, p_msg_ids);
    perform pgmq.archive(p_flow_slug, p_msg_ids);
  end if;
end
$$;


CREATE FUNCTION pgflow._archive_open_tasks(p_keys pgflow.step_key[]) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select pgflow._archive_messages(m.flow_slug, m.msg_ids)
    from (
      select t.flow_slug, array_agg(t.message_id) as msg_ids
        from unnest(p_keys) as k
       cross join lateral (
         select x.flow_slug, x.message_id
           from pgflow.step_tasks x
          where x.run_id = k.run_id and x.step_slug = k.step_slug
            and x.status in ('queued', 'started') and x.message_id is not null
         offset 0
       ) t
       group by t.flow_slug
       order by t.flow_slug
    ) m
$$;


CREATE FUNCTION pgflow._archive_task_message(p_run_id uuid, p_step_slug text, p_task_index integer) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select pgflow._archive_messages(t.flow_slug, array[t.message_id])
    from pgflow.step_tasks t
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index
     and t.message_id is not null
$$;


CREATE FUNCTION pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform from pgflow.runs r
    where r.run_id = _cascade_force_skip_steps.run_id for no key update;
  if not found then
    raise exception 'Run not found: %', _cascade_force_skip_steps.run_id;
  end if;
  return pgflow._skip_downstream(
    array[(_cascade_force_skip_steps.run_id, _cascade_force_skip_steps.step_slug)::pgflow.step_key],
    _cascade_force_skip_steps.skip_reason
  );
end
$$;


CREATE FUNCTION pgflow._claim_tasks(p_keys pgflow.task_key[], p_worker_id uuid, p_leased_until timestamp with time zone) RETURNS SETOF pgflow.claimed_task
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  return query
    with free as materialized (
      select t.run_id, t.step_slug, t.task_index, g.step_type, g.is_root, g.max_attempts, g.timeout, g.base_delay
        from (
          select k.run_id, k.step_slug, k.tasks, s.step_type, s.deps_count = 0 as is_root,
                 o.max_attempts, o.timeout, o.base_delay
            from (
              select x.run_id, x.step_slug, array_agg(x order by x.task_index) as tasks
                from unnest(p_keys) as x
               group by x.run_id, x.step_slug
               order by x.run_id, x.step_slug
            ) k
           cross join lateral (
             select x.flow_slug from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
           ) r
           cross join lateral (
             select from pgflow.step_states x
              where x.run_id = k.run_id and x.step_slug = k.step_slug and x.status = 'started' offset 0
           ) ss
           cross join lateral (
             select x.step_type, x.deps_count
               from pgflow.steps x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
           ) s
           cross join lateral (
             select x.max_attempts, x.timeout, x.base_delay
               from pgflow._task_options x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
           ) o
        ) g
       cross join lateral unnest(g.tasks) as k
       cross join lateral (
         select x.run_id, x.step_slug, x.task_index
           from pgflow.step_tasks x
          where x.run_id = k.run_id and x.step_slug = k.step_slug and x.task_index = k.task_index
            and x.status = 'queued' and x.message_id = k.msg_id
            for no key update skip locked
       ) t
    ),
    claimed as (
      update pgflow.step_tasks t
         set status = 'started',
             attempts_count = t.attempts_count + 1,
             started_at = greatest(now(), t.queued_at),
             last_worker_id = p_worker_id,
             fence = t.fence + 1,
             leased_until = p_leased_until
        from free f
       where t.run_id = f.run_id and t.step_slug = f.step_slug and t.task_index = f.task_index
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, t.input, t.fence, t.attempts_count,
                f.step_type, f.is_root, f.max_attempts, f.timeout, f.base_delay
    )
    select c.flow_slug, c.run_id, c.step_slug, c.task_index, c.message_id,
           case when c.step_type = 'single' then
                  (select i.input from pgflow._step_inputs i where i.run_id = c.run_id and i.step_slug = c.step_slug)
                when c.input is not null then c.input
                else pgflow._map_element(c.run_id, c.step_slug, c.task_index) end,
           case when c.step_type = 'single' and c.is_root then
                  (select r.input from pgflow.runs r where r.run_id = c.run_id) end,
           c.fence, c.attempts_count, c.max_attempts, c.timeout, c.base_delay
      from claimed c
     order by c.message_id;
end
$$;


CREATE FUNCTION pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb) RETURNS text[]
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
  v_local constant jsonb := coalesce(p_local -> 'steps', '[]');
  v_db constant jsonb := coalesce(p_db -> 'steps', '[]');
  v_local_count constant int := jsonb_array_length(v_local);
  v_db_count constant int := jsonb_array_length(v_db);
  v_lines text[] := '{}';
  v_a jsonb;
  v_b jsonb;
  v_at text;
  v_a_deps text;
  v_b_deps text;
  v_key text;
begin
  if v_local_count <> v_db_count then
    v_lines := v_lines || format('Step count differs: %s vs %s', v_local_count, v_db_count);
  end if;

  for i in 0 .. greatest(v_local_count, v_db_count) - 1 loop
    v_a := v_local -> i;
    v_b := v_db -> i;
    v_at := format('Step at index %s: ', i);
    if v_a is null then
      v_lines := v_lines || (v_at || format('missing in first shape (second has ''%s'')', v_b ->> 'slug'));
      continue;
    elsif v_b is null then
      v_lines := v_lines || (v_at || format('missing in second shape (first has ''%s'')', v_a ->> 'slug'));
      continue;
    end if;

    if v_a ->> 'slug' <> v_b ->> 'slug' then
      v_lines := v_lines || (v_at || format('slug differs ''%s'' vs ''%s''', v_a ->> 'slug', v_b ->> 'slug'));
    end if;
    if v_a ->> 'stepType' <> v_b ->> 'stepType' then
      v_lines := v_lines
        || (v_at || format('type differs ''%s'' vs ''%s''', v_a ->> 'stepType', v_b ->> 'stepType'));
    end if;

    select coalesce(string_agg(d.slug, ', ' order by d.slug collate "C"), '') into v_a_deps
      from jsonb_array_elements_text(coalesce(v_a -> 'dependencies', '[]')) as d(slug);
    select coalesce(string_agg(d.slug, ', ' order by d.slug collate "C"), '') into v_b_deps
      from jsonb_array_elements_text(coalesce(v_b -> 'dependencies', '[]')) as d(slug);
    if v_a_deps <> v_b_deps then
      v_lines := v_lines || (v_at || format('dependencies differ [%s] vs [%s]', v_a_deps, v_b_deps));
    end if;

    foreach v_key in array array['whenUnmet', 'whenExhausted'] loop
      if v_a ->> v_key <> v_b ->> v_key then
        v_lines := v_lines || (v_at || format('%s differs ''%s'' vs ''%s''', v_key, v_a ->> v_key, v_b ->> v_key));
      end if;
    end loop;
    foreach v_key in array array['requiredInputPattern', 'forbiddenInputPattern'] loop
      if v_a -> v_key is distinct from v_b -> v_key then
        v_lines := v_lines || (v_at || format('%s differs ''%s'' vs ''%s''', v_key, v_a -> v_key, v_b -> v_key));
      end if;
    end loop;
    if v_a ->> 'initialTasks' is distinct from v_b ->> 'initialTasks' and v_a ? 'initialTasks' then
      v_lines := v_lines || (v_at
        || format('initialTasks differs ''%s'' vs ''%s''', v_a ->> 'initialTasks', v_b ->> 'initialTasks'));
    end if;
  end loop;
  return v_lines;
end
$$;


CREATE FUNCTION pgflow._complete_runs(p_run_ids uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_completed uuid[];
begin
  with completed as (
    update pgflow.runs r
       set status = 'completed',
           completed_at = greatest(now(), r.started_at),
           output = (
             select jsonb_object_agg(ss.step_slug, ss.output)
               from pgflow.step_states ss
              where ss.run_id = r.run_id and ss.status = 'completed'
                and not exists (select from pgflow.deps d
                                 where d.flow_slug = ss.flow_slug and d.dep_slug = ss.step_slug)
           )
     where r.run_id = any (p_run_ids) and r.status = 'started' and r.remaining_steps = 0
    returning r.run_id
  )
  select array_agg(c.run_id order by c.run_id) into v_completed from completed c;
  if v_completed is not null then
    perform pgflow._emit_runs(v_completed);
    perform pgflow._notify_ended(v_completed);
  end if;
end
$$;


CREATE FUNCTION pgflow._complete_taskless_steps(p_keys pgflow.step_key[], OUT completed integer, OUT ready pgflow.step_key[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_done pgflow.step_key[];
begin
  with done as (
    update pgflow.step_states ss
       set status = 'completed',
           started_at = greatest(now(), ss.created_at),
           completed_at = greatest(now(), ss.created_at),
           remaining_tasks = 0,
           output = case when s.step_type = 'map' then '[]'::jsonb end
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
     ) r
     cross join lateral (
       select x.step_type, x.step_index
         from pgflow.steps x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
     ) s
     where ss.run_id = k.run_id and ss.step_slug = k.step_slug
       and ss.status = 'created' and ss.remaining_deps = 0 and ss.initial_tasks = 0
    returning ss.run_id, ss.step_slug, s.step_index
  )
  select array_agg((d.run_id, d.step_slug)::pgflow.step_key order by d.run_id, d.step_index)
    into v_done from done d;

  completed := coalesce(cardinality(v_done), 0);
  ready := '{}';
  if completed > 0 then
    perform pgflow._emit_steps(v_done, p_taskless => true);
    perform pgflow._count_down_steps(v_done);
    ready := pgflow._release_dependents(v_done);
  end if;
end
$$;


CREATE FUNCTION pgflow._complete_tasks(p_worker_id uuid, p_judged pgflow.judged_outcome[], p_outcomes jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.step_tasks t
     set status = 'completed',
         output = p_outcomes -> (j.n - 1) -> 'output',
         completed_at = greatest(now(), t.queued_at, t.started_at),
         leased_until = null,
         settled_fence = t.fence,
         last_worker_id = p_worker_id
    from unnest(p_judged) as j
   where t.run_id = j.run_id and t.step_slug = j.step_slug and t.task_index = j.task_index;
  perform pgflow._archive_messages(w.flow_slug, w.msg_ids)
     from (
       select j.flow_slug, array_agg(j.msg_id) as msg_ids
         from unnest(p_judged) as j
        group by j.flow_slug
        order by j.flow_slug
     ) w;
  perform pgflow._count_down_tasks(array(
    select (j.run_id, j.step_slug)::pgflow.step_key from unnest(p_judged) as j
  ));
end
$$;


CREATE FUNCTION pgflow._count_down_steps(p_keys pgflow.step_key[]) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  update pgflow.runs r
     set remaining_steps = r.remaining_steps - w.ended
    from (select k.run_id, count(*) as ended from unnest(p_keys) as k group by k.run_id) w
   where r.run_id = w.run_id
$$;


CREATE FUNCTION pgflow._count_down_tasks(p_keys pgflow.step_key[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_done pgflow.step_key[];
begin
  with counted as (
    update pgflow.step_states ss
       set remaining_tasks = ss.remaining_tasks - w.tasks,
           status = case when ss.remaining_tasks = w.tasks then 'completed' else ss.status end,
           completed_at = case when ss.remaining_tasks = w.tasks then greatest(now(), ss.started_at) end,
           output = case when ss.remaining_tasks is distinct from w.tasks then null
             when s.step_type = 'single' then
               (select t.output from pgflow.step_tasks t
                 where t.run_id = ss.run_id and t.step_slug = ss.step_slug and t.task_index = 0)
             else
               (select jsonb_agg(t.output order by t.task_index) from pgflow.step_tasks t
                 where t.run_id = ss.run_id and t.step_slug = ss.step_slug)
             end
      from (select k.run_id, k.step_slug, count(*) as tasks from unnest(p_keys) as k group by 1, 2) w
     cross join lateral (select x.flow_slug from pgflow.runs x where x.run_id = w.run_id offset 0) r
     cross join lateral (
       select x.step_type, x.step_index
         from pgflow.steps x where x.flow_slug = r.flow_slug and x.step_slug = w.step_slug offset 0
     ) s
     where ss.run_id = w.run_id and ss.step_slug = w.step_slug
    returning ss.run_id, ss.step_slug, ss.status, s.step_index
  )
  select array_agg((c.run_id, c.step_slug)::pgflow.step_key order by c.run_id, c.step_index)
           filter (where c.status = 'completed')
    into v_done from counted c;

  if v_done is not null then
    perform pgflow._emit_steps(v_done);
    perform pgflow._count_down_steps(v_done);
    perform pgflow._advance(
      array(select distinct k.run_id from unnest(v_done) as k), pgflow._release_dependents(v_done));
  end if;
end
$$;


CREATE FUNCTION pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_options constant jsonb := coalesce(p_shape -> 'options', '{}');
  v_step jsonb;
begin
  perform pgflow.create_flow(
    p_flow_slug,
    (v_options ->> 'maxAttempts')::int,
    (v_options ->> 'baseDelay')::int,
    (v_options ->> 'timeout')::int
  );
  for v_step in select s.value from jsonb_array_elements(p_shape -> 'steps') with ordinality as s order by s.ordinality loop
    perform pgflow.add_step(
      flow_slug => p_flow_slug,
      step_slug => v_step ->> 'slug',
      deps_slugs => array(
        select d.slug from jsonb_array_elements_text(coalesce(v_step -> 'dependencies', '[]'))
          with ordinality as d(slug, n) order by d.n
      ),
      max_attempts => (v_step #>> '{options,maxAttempts}')::int,
      base_delay => (v_step #>> '{options,baseDelay}')::int,
      timeout => (v_step #>> '{options,timeout}')::int,
      start_delay => (v_step #>> '{options,startDelay}')::int,
      step_type => v_step ->> 'stepType',
      required_input_pattern => case when (v_step #> '{requiredInputPattern,defined}') = 'true'
        then v_step #> '{requiredInputPattern,value}' end,
      forbidden_input_pattern => case when (v_step #> '{forbiddenInputPattern,defined}') = 'true'
        then v_step #> '{forbiddenInputPattern,value}' end,
      when_unmet => coalesce(v_step ->> 'whenUnmet', 'skip'),
      when_exhausted => coalesce(v_step ->> 'whenExhausted', 'fail')
    );
    if v_step ->> 'initialTasks' is not null then
      update pgflow.steps s set initial_tasks = (v_step ->> 'initialTasks')::int
       where s.flow_slug = p_flow_slug and s.step_slug = v_step ->> 'slug';
    end if;
  end loop;
end
$$;


CREATE FUNCTION pgflow._emit_runs(p_run_ids uuid[], p_with_error boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if not pgflow._events_wanted() then
    return;
  end if;
  perform realtime.send(e.payload, e.payload ->> 'event_type', 'pgflow:run:' || e.run_id, false)
    from (
      select r.run_id,
             jsonb_build_object('event_type', 'run:' || r.status, 'run_id', r.run_id, 'flow_slug', r.flow_slug,
                                'status', r.status)
             || case r.status
                  when 'started' then jsonb_build_object(
                    'input', r.input, 'remaining_steps', r.remaining_steps, 'started_at', r.started_at)
                  when 'completed' then jsonb_build_object('output', r.output, 'completed_at', r.completed_at)
                  else jsonb_build_object('failed_at', r.failed_at)
                    || case when p_with_error then jsonb_build_object('error_message', r.error_message)
                         else '{}' end
                end as payload
        from unnest(p_run_ids) with ordinality as k(run_id, n)
       cross join lateral (select x.* from pgflow.runs x where x.run_id = k.run_id offset 0) r
       order by k.n
    ) e;
end
$$;


CREATE FUNCTION pgflow._emit_steps(p_keys pgflow.step_key[], p_taskless boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if not pgflow._events_wanted() then
    return;
  end if;
  perform realtime.send(
            e.payload, format('step:%s:%s', e.step_slug, e.status), 'pgflow:run:' || e.run_id, false)
    from (
      select ss.run_id, ss.step_slug, ss.status,
             jsonb_build_object('event_type', 'step:' || ss.status, 'run_id', ss.run_id,
                                'step_slug', ss.step_slug, 'status', ss.status)
             || case ss.status
                  when 'started' then jsonb_build_object(
                    'started_at', ss.started_at, 'remaining_tasks', ss.remaining_tasks,
                    'remaining_deps', ss.remaining_deps)
                  when 'completed' then
                    jsonb_build_object('output', ss.output, 'completed_at', ss.completed_at)
                    || case when p_taskless then jsonb_build_object(
                         'started_at', ss.started_at, 'remaining_tasks', 0, 'remaining_deps', 0)
                       else '{}' end
                  when 'failed' then
                    jsonb_build_object('error_message', ss.error_message, 'failed_at', ss.failed_at)
                  else
                    jsonb_build_object('skip_reason', ss.skip_reason, 'skipped_at', ss.skipped_at)
                    || case when ss.skip_reason = 'handler_failed'
                         then jsonb_build_object('error_message', ss.error_message)
                         else jsonb_build_object('flow_slug', ss.flow_slug) end
                end as payload
        from unnest(p_keys) with ordinality as k(run_id, step_slug, n)
       cross join lateral (
         select x.* from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
       ) ss
       order by k.n
    ) e;
end
$$;


CREATE FUNCTION pgflow._events_wanted() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null
$$;


CREATE FUNCTION pgflow._exhaust_task(p_run_id uuid, p_step_slug text, p_task_index integer, p_error text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_key constant pgflow.step_key := (p_run_id, p_step_slug);
  v_when_exhausted text;
begin
  perform pgflow._archive_task_message(p_run_id, p_step_slug, p_task_index);
  update pgflow.step_tasks t
     set status = 'failed', error_message = p_error, leased_until = null,
         failed_at = greatest(now(), t.queued_at, t.started_at)
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index;

  select s.when_exhausted into strict v_when_exhausted
    from pgflow.step_states ss
    join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
   where ss.run_id = p_run_id and ss.step_slug = p_step_slug;

  case v_when_exhausted
    when 'fail' then
      perform pgflow._fail_step_and_run(p_run_id, p_step_slug, p_error);
    when 'skip' then
      perform pgflow._archive_open_tasks(array[v_key]);
      perform pgflow._advance(array[p_run_id], pgflow._skip_steps(array[v_key], 'handler_failed', p_error));
    else
      perform pgflow._skip_downstream(array[v_key], 'handler_failed', p_error);
      perform pgflow._complete_runs(array[p_run_id]);
  end case;
end
$$;


CREATE FUNCTION pgflow._fail_run(p_run_id uuid, p_error text, p_with_error boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.runs r
     set status = 'failed', failed_at = greatest(now(), r.started_at), error_message = p_error
   where r.run_id = p_run_id;
  perform pgflow._emit_runs(array[p_run_id], p_with_error);
  perform pgflow._archive_open_tasks(array(
    select (ss.run_id, ss.step_slug)::pgflow.step_key
      from pgflow.step_states ss where ss.run_id = p_run_id and ss.status in ('started', 'failed')
  ));
  perform pgflow._notify_ended(array[p_run_id]);
end
$$;


CREATE FUNCTION pgflow._fail_step_and_run(p_run_id uuid, p_step_slug text, p_error text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.step_states ss
     set status = 'failed', error_message = p_error,
         failed_at = greatest(now(), ss.created_at, ss.started_at)
   where ss.run_id = p_run_id and ss.step_slug = p_step_slug;
  perform pgflow._emit_steps(array[(p_run_id, p_step_slug)::pgflow.step_key]);
  perform pgflow._fail_run(p_run_id, p_error);
end
$$;


CREATE FUNCTION pgflow._first_visible(p_flow_slugs text[]) RETURNS timestamp with time zone[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_at timestamptz[];
begin
  execute (
    select format('select array[%s]', string_agg(
             format('(select m.vt from pgmq.%I m order by m.vt limit 1)', pgflow._queue_table(f.slug)), ', '
             order by f.n))
      from unnest(p_flow_slugs) with ordinality as f(slug, n)
  ) into v_at;
  return v_at;
end
$$;


CREATE FUNCTION pgflow._get_flow_shape(p_flow_slug text) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('steps', coalesce(jsonb_agg(
    jsonb_build_object(
      'slug', s.step_slug,
      'stepType', s.step_type,
      'dependencies', coalesce(
        (select jsonb_agg(d.dep_slug order by d.dep_slug collate "C")
           from pgflow.deps d where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug), '[]'),
      'whenUnmet', s.when_unmet,
      'whenExhausted', s.when_exhausted,
      'requiredInputPattern', case when s.required_input_pattern is null then '{"defined": false}'
        else jsonb_build_object('defined', true, 'value', s.required_input_pattern) end,
      'forbiddenInputPattern', case when s.forbidden_input_pattern is null then '{"defined": false}'
        else jsonb_build_object('defined', true, 'value', s.forbidden_input_pattern) end
    ) || case when s.initial_tasks is null then '{}'
         else jsonb_build_object('initialTasks', s.initial_tasks) end
    order by s.step_index), '[]'))
  from pgflow.steps s
  where s.flow_slug = p_flow_slug
$$;


CREATE TABLE pgflow.runs (
    run_id uuid DEFAULT gen_random_uuid() NOT NULL,
    flow_slug text NOT NULL,
    status text DEFAULT 'started'::text NOT NULL,
    input jsonb NOT NULL,
    output jsonb,
    remaining_steps integer DEFAULT 0 NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    error_message text,
    cancelled_at timestamp with time zone,
    parent_run_id uuid,
    idempotency_key text,
    start_at timestamp with time zone,
    CONSTRAINT completed_at_is_after_started_at CHECK ((completed_at >= started_at)),
    CONSTRAINT completed_at_or_failed_at CHECK ((NOT ((completed_at IS NOT NULL) AND (failed_at IS NOT NULL)))),
    CONSTRAINT failed_at_is_after_started_at CHECK ((failed_at >= started_at)),
    CONSTRAINT runs_remaining_steps_check CHECK ((remaining_steps >= 0)),
    CONSTRAINT status_is_valid CHECK ((status = ANY (ARRAY['started'::text, 'completed'::text, 'failed'::text])))
)
WITH (fillfactor='70');


CREATE FUNCTION pgflow._hold_run(p_run_id uuid) RETURNS pgflow.runs
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_run pgflow.runs;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = p_run_id for no key update;
  if not found then
    raise exception 'Run not found: %', p_run_id using errcode = 'no_data_found';
  end if;
  return v_run;
end
$$;


CREATE TABLE pgflow.step_tasks (
    flow_slug text NOT NULL,
    run_id uuid NOT NULL,
    step_slug text NOT NULL,
    message_id bigint,
    task_index integer DEFAULT 0 NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    attempts_count integer DEFAULT 0 NOT NULL,
    error_message text,
    output jsonb,
    queued_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    last_worker_id uuid,
    requeued_count integer DEFAULT 0 NOT NULL,
    last_requeued_at timestamp with time zone,
    permanently_stalled_at timestamp with time zone,
    fence bigint DEFAULT 0 NOT NULL,
    settled_fence bigint DEFAULT 0 NOT NULL,
    leased_until timestamp with time zone,
    input jsonb,
    CONSTRAINT attempts_count_nonnegative CHECK ((attempts_count >= 0)),
    CONSTRAINT completed_at_is_after_queued_at CHECK ((completed_at >= queued_at)),
    CONSTRAINT completed_at_is_after_started_at CHECK ((completed_at >= started_at)),
    CONSTRAINT completed_at_or_failed_at CHECK ((NOT ((completed_at IS NOT NULL) AND (failed_at IS NOT NULL)))),
    CONSTRAINT failed_at_is_after_queued_at CHECK ((failed_at >= queued_at)),
    CONSTRAINT failed_at_is_after_started_at CHECK ((failed_at >= started_at)),
    CONSTRAINT output_valid_only_for_completed CHECK (((output IS NULL) OR (status = ANY (ARRAY['completed'::text, 'failed'::text])))),
    CONSTRAINT started_at_is_after_queued_at CHECK ((started_at >= queued_at)),
    CONSTRAINT valid_status CHECK ((status = ANY (ARRAY['queued'::text, 'started'::text, 'completed'::text, 'failed'::text])))
)
WITH (fillfactor='40');


CREATE FUNCTION pgflow._hold_task(p_run_id uuid, p_step_slug text, p_task_index integer, OUT run_status text, OUT step_status text, OUT task pgflow.step_tasks) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  select r.status into run_status from pgflow.runs r where r.run_id = p_run_id for no key update;
  select ss.status into step_status
    from pgflow.step_states ss where ss.run_id = p_run_id and ss.step_slug = p_step_slug for no key update;
  select t.* into task
    from pgflow.step_tasks t
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index for no key update;
end
$$;


CREATE FUNCTION pgflow._is_open(p_run_id uuid, p_step_slug text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select exists (
    select from pgflow.runs r
      join pgflow.step_states ss on ss.run_id = r.run_id
     where r.run_id = p_run_id and ss.step_slug = p_step_slug and r.status = 'started' and ss.status = 'started'
  )
$$;


CREATE FUNCTION pgflow._judge_outcomes(p_outcomes pgflow.outcome[], p_given jsonb) RETURNS SETOF pgflow.judged_outcome
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  return query
    select o.n, o.run_id, o.step_slug, o.task_index, t.flow_slug, t.message_id,
           case when v.verdict is not null then null
                when o.status = 'released' then 'release'
                when o.status = 'completed' then case when c.starved_map is null then 'complete' else 'violate' end
                when not coalesce(o.permanent, false) and t.attempts_count < g.max_attempts then 'retry'
                else 'exhaust' end,
           v.verdict, o.error,
           case o.status when 'released' then 0
                when 'failed' then
                  coalesce(o.retry_in, pgflow.calculate_retry_delay(g.base_delay, t.attempts_count)) end,
           c.starved_map
      from (
        select k.run_id, k.step_slug, k.outcomes, w.open, w.feeds_map, opt.max_attempts, opt.base_delay
          from (
            select x.run_id, x.step_slug, array_agg(x order by x.task_index, x.n) as outcomes
              from unnest(p_outcomes) as x
             group by x.run_id, x.step_slug
             order by x.run_id, x.step_slug
          ) k
          left join lateral (
            select r.flow_slug, r.status = 'started' and ss.status = 'started' as open,
                   -- asked of single steps only: a map's own output always is an array
                   s.step_type = 'single' and exists (
                     select from pgflow.deps d
                       join pgflow.steps child on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug
                      where d.flow_slug = r.flow_slug and d.dep_slug = k.step_slug and child.step_type = 'map'
                   ) as feeds_map
              from (select x.flow_slug, x.status from pgflow.runs x where x.run_id = k.run_id offset 0) r
             cross join lateral (
               select x.status
                 from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
             ) ss
             cross join lateral (
               select x.step_type
                 from pgflow.steps x where x.flow_slug = r.flow_slug and x.step_slug = k.step_slug offset 0
             ) s
          ) w on true
          left join lateral (
            select x.max_attempts, x.base_delay
              from pgflow._task_options x where x.flow_slug = w.flow_slug and x.step_slug = k.step_slug offset 0
          ) opt on true
      ) g
     cross join lateral unnest(g.outcomes) as o
      left join lateral (
        select x.flow_slug, x.message_id, x.fence, x.settled_fence, x.status, x.attempts_count
          from pgflow.step_tasks x
         where x.run_id = o.run_id and x.step_slug = o.step_slug and x.task_index = o.task_index
           for no key update
      ) t on true
     cross join lateral (
       select case when o.nth > 1 or o.fence = t.settled_fence then 'duplicate'
                   when t.fence is null then 'gone'
                   when o.fence is distinct from t.fence then 'stale'
                   when not g.open then 'gone'
                   when t.status not in ('queued', 'started') then 'stale' end as verdict
     ) v
     cross join lateral (
       select case when g.feeds_map and v.verdict is null and o.status = 'completed'
                    and jsonb_typeof(p_given -> (o.n - 1) -> 'output') is distinct from 'array'
                   then pgflow._starved_map(o.run_id, o.step_slug, p_given -> (o.n - 1) -> 'output')
              end as starved_map
     ) c;
end
$$;


CREATE FUNCTION pgflow._judge_steps(p_keys pgflow.step_key[]) RETURNS pgflow.step_key[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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


CREATE FUNCTION pgflow._lock_messages(p_flow_slug text, p_msg_ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
begin
  execute format(
    'select from pgmq.%I where msg_id = any ($1) order by msg_id for update', pgflow._queue_table(p_flow_slug)
  ) using p_msg_ids;
end
$_$;


CREATE FUNCTION pgflow._lock_open_messages(p_run_ids uuid[]) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select pgflow._lock_messages(m.flow_slug, m.msg_ids)
    from (
      select t.flow_slug, array_agg(t.message_id) as msg_ids
        from pgflow.step_tasks t
       where t.run_id = any (p_run_ids) and t.status in ('queued', 'started') and t.message_id is not null
       group by t.flow_slug
       order by t.flow_slug
    ) m
$$;


CREATE FUNCTION pgflow._look_through(p_flow_slugs text[], p_lease integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_flow text;
begin
  for v_flow in
    with due as materialized (
      select f.flow_slug from pgflow.flows f
       where f.flow_slug = any (p_flow_slugs)
         and (f.looked_at < clock_timestamp() - make_interval(secs => p_lease / 3.0)) is not false
       order by f.flow_slug
         for no key update skip locked
    )
    update pgflow.flows f set looked_at = clock_timestamp()
      from due d where f.flow_slug = d.flow_slug
    returning f.flow_slug
  loop
    execute format(
      $q$
        with lapsed as materialized (
          select m.msg_id
            from unnest(pgflow._task_keys($1, array(
                   select h.msg_id from pgmq.%1$I h where h.vt > $2
                 ))) as k
           cross join lateral (
             select from pgflow.step_tasks x
              where x.run_id = k.run_id and x.step_slug = k.step_slug and x.task_index = k.task_index
                and x.message_id = k.msg_id and x.status = 'started' and x.leased_until < $2
             offset 0
           ) t
            join pgmq.%1$I m on m.msg_id = k.msg_id
           order by m.msg_id
             for update of m skip locked
        )
        update pgmq.%1$I q set vt = $2 from lapsed l where q.msg_id = l.msg_id
      $q$, pgflow._queue_table(v_flow)
    ) using v_flow, clock_timestamp();
  end loop;
end
$_$;


CREATE FUNCTION pgflow._map_element(p_run_id uuid, p_step_slug text, p_task_index integer) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select case when s.deps_count > 0 then up.output -> p_task_index
              when s.initial_tasks is not null then to_jsonb(p_task_index)
              else r.input -> p_task_index end
    from pgflow.runs r
    join pgflow.steps s on s.flow_slug = r.flow_slug and s.step_slug = p_step_slug
    left join pgflow.deps d on d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
    left join lateral (
      select x.output from pgflow.step_states x where x.run_id = p_run_id and x.step_slug = d.dep_slug offset 0
    ) up on true
   where r.run_id = p_run_id
$$;


CREATE FUNCTION pgflow._met_steps(p_keys pgflow.step_key[]) RETURNS pgflow.step_key[]
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select array(
    select (m.run_id, m.step_slug)::pgflow.step_key
      from (select * from unnest(p_keys) except select u.run_id, u.step_slug from pgflow._unmet_steps(p_keys) u) m
  )
$$;


CREATE FUNCTION pgflow._next_visible(p_flow_slug text) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_at timestamptz;
begin
  execute format('select m.vt from pgmq.%I m where m.vt > $1 order by m.vt limit 1',
                 pgflow._queue_table(p_flow_slug))
    into v_at using clock_timestamp();
  return v_at;
end
$_$;


CREATE FUNCTION pgflow._no_array(p_flow_slug text, p_input jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select format('Flow %s has root map steps but input is %s', p_flow_slug,
                coalesce('not an array (got ' || jsonb_typeof(p_input) || ')', 'NULL'))
$$;


CREATE FUNCTION pgflow._note_outage(p_lease integer) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_heard timestamptz;
  v_longest int;
  v_noted timestamptz;
  v_grace timestamptz;
begin
  select max(w.last_heartbeat_at), max(w.lease) into v_heard, v_longest
    from pgflow.workers w where w.lease is not null;
  select o.grace_until into v_noted from pgflow.outage o;
  if v_heard < clock_timestamp() - make_interval(secs => p_lease) and v_noted < v_heard then
    v_grace := clock_timestamp() + make_interval(secs => greatest(v_longest, p_lease));
    update pgflow.outage o set grace_until = v_grace
     where o.only_row in (select free.only_row from pgflow.outage free for no key update skip locked);
  end if;
  return greatest(v_noted, v_grace, pg_postmaster_start_time() + make_interval(secs => p_lease));
end
$$;


CREATE FUNCTION pgflow._notify_ended(p_run_ids uuid[]) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select pg_notify('pgflow_run', r.run_id || ' ' || case when r.cancelled_at is null then r.status else 'cancelled' end)
    from pgflow.runs r where r.run_id = any (p_run_ids)
$$;


CREATE FUNCTION pgflow._put_back(p_judged pgflow.judged_outcome[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.step_tasks t
     set status = 'queued',
         started_at = null,
         leased_until = null,
         permanently_stalled_at = null,
         settled_fence = t.fence,
         -- what was not worked on has not used up an attempt
         attempts_count = greatest(t.attempts_count - case when j.action = 'release' then 1 else 0 end, 0),
         error_message = case when j.action = 'retry' then j.error else t.error_message end
    from unnest(p_judged) as j
   where t.run_id = j.run_id and t.step_slug = j.step_slug and t.task_index = j.task_index;
  perform pgflow._show_again(w.flow_slug, w.keys, w.ats)
     from (
       select j.flow_slug,
              array_agg((j.run_id, j.step_slug, j.task_index, j.msg_id)::pgflow.task_key) as keys,
              array_agg(clock_timestamp() + make_interval(secs => j.visible_in)) as ats
         from unnest(p_judged) as j
        group by j.flow_slug
        order by j.flow_slug
     ) w;
end
$$;


CREATE FUNCTION pgflow._queue_anew(p_run_id uuid, p_flow_slug text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_keys constant pgflow.task_key[] := array(
    select (t.run_id, t.step_slug, t.task_index, t.message_id)::pgflow.task_key
      from pgflow.step_states ss
      join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
     where ss.run_id = p_run_id and ss.status = 'started' and t.status <> 'completed'
     order by t.run_id, t.step_slug, t.task_index
       for no key update of t
  );
  v_msg_ids bigint[];
begin
  if v_keys = '{}' then
    return;
  end if;
  execute format(
    $q$
      with sent as (
        insert into pgmq.%I (vt, message)
        select greatest(clock_timestamp(), r.start_at) + make_interval(secs => coalesce(s.opt_start_delay, 0)),
               jsonb_build_object('flow_slug', s.flow_slug, 'run_id', k.run_id,
                                  'step_slug', k.step_slug, 'task_index', k.task_index)
          from unnest($1) with ordinality as k(run_id, step_slug, task_index, msg_id, n)
          join pgflow.runs r on r.run_id = k.run_id
          join pgflow.steps s on s.flow_slug = r.flow_slug and s.step_slug = k.step_slug
         order by k.n
        returning msg_id
      )
      select array_agg(msg_id order by msg_id) from sent
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids using v_keys;

  update pgflow.step_tasks t
     set status = 'queued',
         message_id = v_msg_ids[k.n],
         queued_at = greatest(now(), t.queued_at),
         started_at = null,
         failed_at = null,
         leased_until = null,
         last_worker_id = null,
         attempts_count = 0,
         requeued_count = 0,
         last_requeued_at = null,
         permanently_stalled_at = null,
         fence = t.fence + 1,
         error_message = null,
         output = null
    from unnest(v_keys) with ordinality as k(run_id, step_slug, task_index, msg_id, n)
   where t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index;
  perform pgflow._wake_workers(p_flow_slug);
end
$_$;


CREATE FUNCTION pgflow._queue_table(p_flow_slug text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO ''
    AS $$
  select 'q_' || lower(p_flow_slug)
$$;


CREATE FUNCTION pgflow._ready_steps(p_run_id uuid) RETURNS pgflow.step_key[]
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select coalesce(array_agg((ss.run_id, ss.step_slug)::pgflow.step_key), '{}')
    from pgflow.step_states ss
   where ss.run_id = p_run_id and ss.status = 'created' and ss.remaining_deps = 0
$$;


CREATE FUNCTION pgflow._release_dependents(p_keys pgflow.step_key[]) RETURNS pgflow.step_key[]
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  with freed as (
    select k.run_id, d.step_slug, count(*) as deps,
           -- a map has one dependency, so this is its length
           max(case when jsonb_typeof(up.output) = 'array' then jsonb_array_length(up.output) else 0 end)
             filter (where s.step_type = 'map') as elements
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug, x.output
         from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
     ) up
     cross join lateral (
       select x.step_slug from pgflow.deps x where x.flow_slug = up.flow_slug and x.dep_slug = k.step_slug offset 0
     ) d
     cross join lateral (
       select x.step_type
         from pgflow.steps x where x.flow_slug = up.flow_slug and x.step_slug = d.step_slug offset 0
     ) s
     group by k.run_id, d.step_slug
  ),
  released as (
    update pgflow.step_states ss
       set remaining_deps = ss.remaining_deps - f.deps,
           initial_tasks = coalesce(ss.initial_tasks, f.elements)
      from freed f
     -- one that was skipped meanwhile keeps its books, too, but is not freed
     where ss.run_id = f.run_id and ss.step_slug = f.step_slug and ss.status in ('created', 'skipped')
    returning ss.run_id, ss.step_slug, ss.remaining_deps, ss.status
  )
  select coalesce(
    array_agg((r.run_id, r.step_slug)::pgflow.step_key order by r.run_id, r.step_slug)
      filter (where r.remaining_deps = 0 and r.status = 'created'), '{}')
    from released r
$$;


CREATE FUNCTION pgflow._reopen_steps(p_run_id uuid) RETURNS pgflow.step_key[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_restarted constant pgflow.step_key[] := array(
    select (ss.run_id, ss.step_slug)::pgflow.step_key
      from pgflow.step_states ss
      join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
     where ss.run_id = p_run_id and ss.status = 'failed' and ss.started_at is not null
     order by s.step_index
  );
begin
  update pgflow.step_states ss
     set status = case when ss.started_at is null then 'created' else 'started' end,
         started_at = case when ss.status = 'failed' and ss.started_at is not null
                           then greatest(now(), ss.created_at) else ss.started_at end,
         failed_at = null,
         error_message = null,
         remaining_tasks = case when ss.started_at is not null then ss.initial_tasks - (
           select count(*) from pgflow.step_tasks t
            where t.run_id = ss.run_id and t.step_slug = ss.step_slug and t.status = 'completed') end,
         remaining_deps = (
           select count(*)
             from pgflow.deps d
             join pgflow.step_states up on up.run_id = ss.run_id and up.step_slug = d.dep_slug
            where d.flow_slug = ss.flow_slug and d.step_slug = ss.step_slug
              and up.status not in ('completed', 'skipped'))
   where ss.run_id = p_run_id and ss.status in ('created', 'started', 'failed');
  return v_restarted;
end
$$;


CREATE FUNCTION pgflow._send_lost_messages(p_flow_slug text, p_keys pgflow.task_key[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_lost pgflow.task_key;
  v_msg_id bigint;
begin
  for v_lost in execute format(
    $q$
      select k.* from unnest($1) as k
       where (select r.status = 'started' from pgflow.runs r where r.run_id = k.run_id)
         and not exists (select from pgmq.%I m where m.msg_id = k.msg_id)
    $q$, pgflow._queue_table(p_flow_slug)
  ) using p_keys
  loop
    select s.send into strict v_msg_id
      from pgmq.send(p_flow_slug, jsonb_build_object(
        'flow_slug', p_flow_slug, 'run_id', v_lost.run_id,
        'step_slug', v_lost.step_slug, 'task_index', v_lost.task_index)) as s(send);
    update pgflow.step_tasks t set message_id = v_msg_id
     where t.run_id = v_lost.run_id and t.step_slug = v_lost.step_slug and t.task_index = v_lost.task_index;
  end loop;
end
$_$;


CREATE FUNCTION pgflow._send_tasks(p_flow_slug text, p_keys pgflow.step_key[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_msg_ids bigint[];
begin
  execute format(
    $q$
      with sent as (
        insert into pgmq.%I (vt, message)
        select greatest(clock_timestamp(), r.start_at) + make_interval(secs => coalesce(s.opt_start_delay, 0)),
               jsonb_build_object('flow_slug', ss.flow_slug, 'run_id', ss.run_id,
                                  'step_slug', ss.step_slug, 'task_index', i.task_index)
          from unnest($1) as k
         cross join lateral (
           select x.flow_slug, x.step_slug, x.run_id, x.initial_tasks
             from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
         ) ss
         cross join lateral (
           select x.opt_start_delay
             from pgflow.steps x where x.flow_slug = ss.flow_slug and x.step_slug = k.step_slug offset 0
         ) s
         cross join lateral (select x.start_at from pgflow.runs x where x.run_id = k.run_id offset 0) r
         cross join lateral generate_series(0, ss.initial_tasks - 1) as i(task_index)
         order by k.run_id, k.step_slug, i.task_index
        returning msg_id
      )
      select array_agg(msg_id order by msg_id) from sent
    $q$, pgflow._queue_table(p_flow_slug)
  ) into v_msg_ids using p_keys;

  insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input)
  select p_flow_slug, w.run_id, w.step_slug, e.task_index, v_msg_ids[w.sent_before + e.task_index + 1], e.element
    from (
      select k.run_id, k.step_slug, ss.initial_tasks, s.step_type, s.deps_count,
             s.initial_tasks is not null and s.deps_count = 0 as by_index,
             (sum(ss.initial_tasks) over (order by k.run_id, k.step_slug) - ss.initial_tasks)::int as sent_before
        from unnest(p_keys) as k
       cross join lateral (
         select x.initial_tasks
           from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
       ) ss
       cross join lateral (
         select x.step_type, x.deps_count, x.initial_tasks
           from pgflow.steps x where x.flow_slug = p_flow_slug and x.step_slug = k.step_slug offset 0
       ) s
    ) w
   cross join lateral (
     select case
              when w.step_type = 'single' or w.by_index then null
              when w.deps_count = 0 then (select r.input from pgflow.runs r where r.run_id = w.run_id)
              else (select up.output
                      from pgflow.deps d
                     cross join lateral (
                       select x.output
                         from pgflow.step_states x where x.run_id = w.run_id and x.step_slug = d.dep_slug offset 0
                     ) up
                     where d.flow_slug = p_flow_slug and d.step_slug = w.step_slug)
            end as items
   ) a
   cross join lateral (
     select z.task_index, case when w.by_index then to_jsonb(z.task_index) else z.element end as element
       from rows from (
              generate_series(0, w.initial_tasks - 1),
              jsonb_array_elements(case when jsonb_typeof(a.items) = 'array' then a.items end)
            ) as z(task_index, element)
      where z.task_index is not null
   ) e;

  perform pgflow._wake_workers(p_flow_slug);
end
$_$;


CREATE FUNCTION pgflow._set_visible(p_flow_slug text, p_msg_ids bigint[], p_at timestamp with time zone[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
begin
  execute format(
    $q$
      with locked as materialized (
        select q.msg_id, w.at
          from unnest($1, $2) as w(msg_id, at) join pgmq.%1$I q on q.msg_id = w.msg_id
         order by q.msg_id
           for update of q
      )
      update pgmq.%1$I q set vt = l.at from locked l where q.msg_id = l.msg_id
    $q$, pgflow._queue_table(p_flow_slug)
  ) using p_msg_ids, p_at;
end
$_$;


CREATE FUNCTION pgflow._show_again(p_flow_slug text, p_keys pgflow.task_key[], p_at timestamp with time zone[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform pgflow._send_lost_messages(p_flow_slug, p_keys);
  perform pgflow._set_visible(p_flow_slug, array_agg(t.message_id), array_agg(w.at))
     from unnest(p_keys, p_at) as w(run_id, step_slug, task_index, msg_id, at)
     join pgflow.step_tasks t
       on t.run_id = w.run_id and t.step_slug = w.step_slug and t.task_index = w.task_index;
  perform pgflow._wake_workers(p_flow_slug);
end
$$;


CREATE FUNCTION pgflow._skip_downstream(p_keys pgflow.step_key[], p_reason text, p_error text DEFAULT NULL::text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_reached pgflow.step_key[];
  v_skipped pgflow.step_key[];
begin
  with recursive reached as (
    select ss.flow_slug, ss.run_id, ss.step_slug
      from unnest(p_keys) as k
     cross join lateral (
       select x.flow_slug, x.run_id, x.step_slug
         from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
     ) ss
    union
    select r.flow_slug, r.run_id, d.step_slug
      from reached r
     cross join lateral (
       select x.step_slug from pgflow.deps x where x.flow_slug = r.flow_slug and x.dep_slug = r.step_slug offset 0
     ) d
  ),
  locked as (
    select ss.run_id, ss.step_slug
      from (select x.run_id, x.step_slug from reached x order by x.run_id, x.step_slug) r
     cross join lateral (
       select x.run_id, x.step_slug
         from pgflow.step_states x
        where x.run_id = r.run_id and x.step_slug = r.step_slug and x.status in ('created', 'started')
          for no key update
     ) ss
  )
  select array_agg((l.run_id, l.step_slug)::pgflow.step_key) into v_reached from locked l;
  if v_reached is null then
    return 0;
  end if;

  perform pgflow._archive_open_tasks(v_reached);
  with skipped as (
    update pgflow.step_states ss
       set status = 'skipped',
           skip_reason = case when w.is_root then p_reason else 'dependency_skipped' end,
           error_message = case when w.is_root then p_error end,
           skipped_at = greatest(now(), ss.created_at),
           remaining_tasks = null
      from (
        -- grouped, not joined: two arrays have no index
        select k.run_id, k.step_slug, bool_or(k.is_root) as is_root
          from (select r.run_id, r.step_slug, false as is_root from unnest(v_reached) as r
                union all
                select g.run_id, g.step_slug, true from unnest(p_keys) as g) k
         group by k.run_id, k.step_slug
        having not bool_and(k.is_root)
      ) w
     where ss.run_id = w.run_id and ss.step_slug = w.step_slug
    returning ss.flow_slug, ss.run_id, ss.step_slug
  )
  select array_agg((x.run_id, x.step_slug)::pgflow.step_key order by x.run_id, s.step_index)
    into v_skipped
    from skipped x
   cross join lateral (
     select y.step_index from pgflow.steps y where y.flow_slug = x.flow_slug and y.step_slug = x.step_slug offset 0
   ) s;
  perform pgflow._emit_steps(v_skipped);
  perform pgflow._count_down_steps(v_skipped);
  return cardinality(v_skipped);
end
$$;


CREATE FUNCTION pgflow._skip_steps(p_keys pgflow.step_key[], p_reason text, p_error text DEFAULT NULL::text) RETURNS pgflow.step_key[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.step_states ss
     set status = 'skipped',
         skip_reason = p_reason,
         error_message = p_error,
         skipped_at = greatest(now(), ss.created_at),
         remaining_tasks = null
    from unnest(p_keys) as k
   where ss.run_id = k.run_id and ss.step_slug = k.step_slug;
  perform pgflow._emit_steps(p_keys);
  perform pgflow._count_down_steps(p_keys);
  return pgflow._release_dependents(p_keys);
end
$$;


CREATE FUNCTION pgflow._sort_out_messages(p_flow_slug text, p_keys pgflow.task_key[], p_lease integer) RETURNS pgflow.task_key[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_dead bigint[];
  v_open pgflow.task_key[];
  v_lapsed pgflow.task_key[] := '{}';
  v_given_up bigint[];
  v_grace timestamptz;
begin
  select coalesce(array_agg(k.msg_id) filter (where w.open is not true), '{}'),
         coalesce(array_agg((k.run_id, k.step_slug, k.task_index, k.msg_id)::pgflow.task_key)
           filter (where w.open), '{}')
    into v_dead, v_open
    from unnest(p_keys) as k
    left join lateral (
      select t.message_id = k.msg_id and t.status in ('queued', 'started') and t.permanently_stalled_at is null
             and ss.status = 'started' and r.status = 'started' as open
        from (select x.message_id, x.status, x.permanently_stalled_at
                from pgflow.step_tasks x
               where x.run_id = k.run_id and x.step_slug = k.step_slug and x.task_index = k.task_index offset 0) t
       cross join lateral (
         select x.status from pgflow.step_states x where x.run_id = k.run_id and x.step_slug = k.step_slug offset 0
       ) ss
       cross join lateral (select x.status from pgflow.runs x where x.run_id = k.run_id offset 0) r
    ) w on true;
  perform pgflow._archive_messages(p_flow_slug, v_dead);
  if v_open = '{}' then
    return '{}';
  end if;

  if exists (select from unnest(v_open) as k join pgflow._worker_holds l using (run_id, step_slug, task_index)
              where l.at < clock_timestamp()) then
    v_grace := pgflow._note_outage(p_lease);
  end if;
  with lapsed as materialized (
    select t.run_id, t.step_slug, t.task_index, k.msg_id, l.is_stall, l.is_stall and t.requeued_count >= 3 as over
      from unnest(v_open) as k
      join pgflow.step_tasks t
        on t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index
      join pgflow._worker_holds l on l.run_id = t.run_id and l.step_slug = t.step_slug and l.task_index = t.task_index
     where t.status = 'started' and l.at < clock_timestamp() and v_grace < clock_timestamp()
     order by t.run_id, t.step_slug, t.task_index
       for no key update of t skip locked
  ),
  moved as (
    update pgflow.step_tasks t
       set status = case when l.over then t.status else 'queued' end,
           permanently_stalled_at = case when l.over then greatest(now(), t.queued_at) end,
           started_at = case when l.over then t.started_at end,
           leased_until = null,
           requeued_count = t.requeued_count + case when l.is_stall and not l.over then 1 else 0 end,
           last_requeued_at = case when l.is_stall and not l.over then greatest(now(), t.queued_at)
                                else t.last_requeued_at end,
           attempts_count = greatest(t.attempts_count - case when l.is_stall then 0 else 1 end, 0)
      from lapsed l
     where t.run_id = l.run_id and t.step_slug = l.step_slug and t.task_index = l.task_index
    returning l.*
  )
  select coalesce(array_agg((m.run_id, m.step_slug, m.task_index, m.msg_id)::pgflow.task_key)
           filter (where not m.over), '{}'),
         coalesce(array_agg(m.msg_id) filter (where m.over), '{}')
    into v_lapsed, v_given_up
    from moved m;
  perform pgflow._archive_messages(p_flow_slug, v_given_up);

  -- What is held by somebody is asked again when that hold ends; what is merely locked just now, in a moment:
  -- at once would be again and again in this same poll, for as long as the lock lasts.
  perform pgflow._set_visible(p_flow_slug, array_agg(w.msg_id), array_agg(w.at))
     from (
       select k.msg_id, greatest(l.at, v_grace, clock_timestamp() + interval '0.1 s') as at
         from (select * from unnest(v_open) except select * from unnest(v_lapsed)) k
         left join pgflow._worker_holds l using (run_id, step_slug, task_index)
        where k.msg_id <> all (v_given_up)
     ) w
  having count(*) > 0;
  return v_lapsed;
end
$$;


CREATE FUNCTION pgflow._start_runs(p_flow_slug text, p_inputs jsonb[], p_run_ids uuid[], p_keys text[], p_start_at timestamp with time zone) RETURNS uuid[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_ids uuid[] := array(
    select coalesce(p_run_ids[i], gen_random_uuid()) from generate_subscripts(p_inputs, 1) as i order by i
  );
  v_made uuid[];
begin
  with made as (
    insert into pgflow.runs (run_id, flow_slug, input, remaining_steps, idempotency_key, start_at)
    select w.run_id, p_flow_slug, w.input, n.steps, w.key, p_start_at
      from (select * from unnest(v_ids, p_inputs, p_keys) with ordinality as u(run_id, input, key, i)) w
     cross join (select count(*) as steps from pgflow.steps s where s.flow_slug = p_flow_slug) n
     order by w.key, w.i
    on conflict (flow_slug, idempotency_key) where idempotency_key is not null do nothing
    returning run_id
  )
  select array_agg(m.run_id order by m.run_id) into v_made from made m;

  if p_keys is not null then
    v_ids := array(
      select coalesce(r.run_id, w.run_id)
        from unnest(v_ids, p_keys) with ordinality as w(run_id, key, i)
        left join lateral (
          select x.run_id from pgflow.runs x where x.flow_slug = p_flow_slug and x.idempotency_key = w.key offset 0
        ) r on true
       order by w.i
    );
  end if;
  if v_made is null then
    return v_ids;
  end if;

  insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks)
  select p_flow_slug, r.run_id, s.step_slug, s.deps_count,
         case when s.step_type = 'single' then 1
              when s.deps_count = 0 then coalesce(s.initial_tasks, jsonb_array_length(r.input)) end
    from unnest(v_made) as m(run_id)
   cross join lateral (select x.run_id, x.input from pgflow.runs x where x.run_id = m.run_id offset 0) r
    join pgflow.steps s on s.flow_slug = p_flow_slug
   order by r.run_id, s.step_index;
  perform pgflow._emit_runs(v_made);
  perform pgflow._advance(v_made, array(
    select (m.run_id, s.step_slug)::pgflow.step_key
      from unnest(v_made) as m(run_id)
      join pgflow.steps s on s.flow_slug = p_flow_slug and s.deps_count = 0
  ));
  return v_ids;
end
$$;


CREATE FUNCTION pgflow._start_steps(p_keys pgflow.step_key[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_started pgflow.step_key[];
begin
  with started as (
    update pgflow.step_states ss
       set status = 'started',
           started_at = greatest(now(), ss.created_at),
           remaining_tasks = ss.initial_tasks
      from unnest(p_keys) as k
     cross join lateral (
       select from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
     ) r
     where ss.run_id = k.run_id and ss.step_slug = k.step_slug
       and ss.status = 'created' and ss.remaining_deps = 0 and ss.initial_tasks > 0
    returning ss.run_id, ss.step_slug
  )
  select array_agg((s.run_id, s.step_slug)::pgflow.step_key order by s.run_id, s.step_slug)
    into v_started from started s;
  if v_started is null then
    return;
  end if;

  perform pgflow._emit_steps(v_started);
  perform pgflow._send_tasks(w.flow_slug, w.keys)
     from (
       select ss.flow_slug, array_agg(k order by k.run_id, k.step_slug) as keys
         from unnest(v_started) as k
        cross join lateral (select x.flow_slug from pgflow.runs x where x.run_id = k.run_id offset 0) ss
        group by ss.flow_slug
        order by ss.flow_slug
     ) w;
end
$$;


CREATE FUNCTION pgflow._starved_map(p_run_id uuid, p_step_slug text, p_output jsonb) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select child.step_slug
    from (
      select x.flow_slug
        from pgflow.runs r
        join pgflow.steps x on x.flow_slug = r.flow_slug and x.step_slug = p_step_slug
       where r.run_id = p_run_id and x.step_type = 'single'
      offset 0
    ) s
    join pgflow.deps d on d.flow_slug = s.flow_slug and d.dep_slug = p_step_slug
    join pgflow.steps child on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug
   where child.step_type = 'map'
     and jsonb_typeof(p_output) is distinct from 'array'
     -- a look-up by primary key for each such map, whatever the planner knows of the tables
     and (select waiting.initial_tasks is null from pgflow.step_states waiting
           where waiting.run_id = p_run_id and waiting.step_slug = child.step_slug)
   order by child.step_index
   limit 1
$$;


CREATE FUNCTION pgflow._steps_from(p_flow_slug text, p_step_slug text) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  with recursive reached as (
    select s.step_slug from pgflow.steps s where s.flow_slug = p_flow_slug and s.step_slug = p_step_slug
    union
    select d.step_slug
      from reached r
      join pgflow.deps d on d.flow_slug = p_flow_slug and d.dep_slug = r.step_slug
  )
  select array(select r.step_slug from reached r)
$$;


CREATE FUNCTION pgflow._take_messages(p_flow_slug text, p_qty integer, p_until timestamp with time zone) RETURNS pgflow.task_key[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_keys pgflow.task_key[];
begin
  execute format(
    $q$
      with m as (
        update pgmq.%1$I q set vt = $3
         where q.msg_id = any (array(
           select v.msg_id from pgmq.%1$I v where v.vt <= $1 order by v.vt limit $2 for update skip locked
         ))
        returning q.msg_id, q.message
      )
      select array_agg(%2$s) from m
    $q$, pgflow._queue_table(p_flow_slug), pgflow._task_key()
  ) into v_keys using clock_timestamp(), p_qty, p_until;
  return coalesce(v_keys, '{}');
end
$_$;


CREATE FUNCTION pgflow._take_over_steps(p_run_id uuid, p_parent_run_id uuid, p_kept text[]) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  insert into pgflow.step_states (flow_slug, run_id, step_slug, status, initial_tasks, remaining_tasks,
                                  remaining_deps, output, error_message, skip_reason,
                                  started_at, completed_at, skipped_at)
  select r.flow_slug, r.run_id, s.step_slug, coalesce(old.status, 'created'),
         case when old.run_id is not null then old.initial_tasks
              when s.step_type = 'single' then 1
              when s.deps_count = 0 then coalesce(s.initial_tasks, jsonb_array_length(r.input))
              else (select case when jsonb_typeof(up.output) = 'array' then jsonb_array_length(up.output) else 0 end
                      from pgflow.deps d
                      join pgflow.step_states up on up.run_id = p_parent_run_id and up.step_slug = d.dep_slug
                     where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug and d.dep_slug = any (p_kept))
         end,
         case when old.status = 'completed' then 0 end,
         case when old.run_id is not null then 0
              else (select count(*) from pgflow.deps d
                     where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug and d.dep_slug <> all (p_kept))
         end,
         old.output, old.error_message, old.skip_reason,
         case when old.status = 'completed' then now() end,
         case when old.status = 'completed' then now() end,
         case when old.status = 'skipped' then now() end
    from pgflow.runs r
    join pgflow.steps s on s.flow_slug = r.flow_slug
    left join pgflow.step_states old
      on old.run_id = p_parent_run_id and old.step_slug = s.step_slug and s.step_slug = any (p_kept)
   where r.run_id = p_run_id
   order by s.step_index
$$;


CREATE FUNCTION pgflow._takes_array(p_flow_slug text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
  if not exists (select from pgflow.flows f where f.flow_slug = p_flow_slug) then
    raise exception 'Flow not found: %', p_flow_slug using errcode = 'foreign_key_violation';
  end if;
  return exists (
    select from pgflow.steps s
     where s.flow_slug = p_flow_slug and s.step_type = 'map' and s.deps_count = 0 and s.initial_tasks is null
  );
end
$$;


CREATE FUNCTION pgflow._task_key() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO ''
    AS $_$
  select $q$(
    case when m.message ->> 'run_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
         then (m.message ->> 'run_id')::uuid end,
    m.message ->> 'step_slug',
    case when m.message ->> 'task_index' ~ '^[0-9]{1,9}$' then (m.message ->> 'task_index')::int end,
    m.msg_id
  )::pgflow.task_key$q$
$_$;


CREATE FUNCTION pgflow._task_keys(p_flow_slug text, p_msg_ids bigint[]) RETURNS pgflow.task_key[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_keys pgflow.task_key[];
begin
  execute format(
    'select array_agg(%s order by m.msg_id) from pgmq.%I m where m.msg_id = any ($1)',
    pgflow._task_key(), pgflow._queue_table(p_flow_slug)
  ) into v_keys using p_msg_ids;
  return coalesce(v_keys, '{}');
end
$_$;


CREATE FUNCTION pgflow._unmet_steps(p_keys pgflow.step_key[]) RETURNS TABLE(run_id uuid, step_slug text, step_index integer, action text, error text)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select k.run_id, k.step_slug, s.step_index,
         case when c.met then 'fail' else s.when_unmet end,
         case when c.met
           then format('Map step "%s" expected %s elements, got %s', s.step_slug, s.initial_tasks, ss.initial_tasks)
           else 'Condition not met' end
    from unnest(p_keys) as k
   cross join lateral (
     select x.flow_slug, x.initial_tasks
       from pgflow.step_states x
      where x.run_id = k.run_id and x.step_slug = k.step_slug and x.status = 'created' and x.remaining_deps = 0
     offset 0
   ) ss
   cross join lateral (
     select x.input from pgflow.runs x where x.run_id = k.run_id and x.status = 'started' offset 0
   ) r
   cross join lateral (
     select x.* from pgflow.steps x where x.flow_slug = ss.flow_slug and x.step_slug = k.step_slug offset 0
   ) s
   cross join lateral (
     select case when s.required_input_pattern is null and s.forbidden_input_pattern is null then null
                 when s.deps_count = 0 then r.input
                 else (select i.input from pgflow._step_inputs i
                        where i.run_id = k.run_id and i.step_slug = k.step_slug)
            end as context
     offset 0
   ) j
   cross join lateral (
     select (s.required_input_pattern is null or j.context @> s.required_input_pattern)
        and (s.forbidden_input_pattern is null or not j.context @> s.forbidden_input_pattern) as met
   ) c
   where not c.met
      or ((s.initial_tasks <> ss.initial_tasks) is true and s.deps_count > 0
          -- a skipped dependency had no length
          and exists (select from pgflow.deps d
                       where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
                         and (select up.status = 'completed' from pgflow.step_states up
                               where up.run_id = k.run_id and up.step_slug = d.dep_slug)))
$$;


CREATE FUNCTION pgflow._violate_type(p_run_id uuid, p_step_slug text, p_task_index integer, p_output jsonb, p_child_slug text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_type constant text := coalesce(jsonb_typeof(p_output), 'null');
  v_error constant text := format(
    '[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s',
    p_child_slug, p_step_slug, v_type);
begin
  perform pgflow._archive_task_message(p_run_id, p_step_slug, p_task_index);
  update pgflow.step_tasks t
     set status = 'failed', output = p_output, leased_until = null,
         error_message = format('[TYPE_VIOLATION] Produced %s instead of array', v_type),
         failed_at = greatest(now(), t.queued_at, t.started_at)
   where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index;
  update pgflow.step_states ss
     set status = 'failed', error_message = v_error, failed_at = greatest(now(), ss.started_at)
   where ss.run_id = p_run_id and ss.step_slug = p_step_slug;
  perform pgflow._fail_run(p_run_id, v_error, p_with_error => false);
  perform pgflow._emit_steps(array[(p_run_id, p_step_slug)::pgflow.step_key]);
end
$$;


CREATE FUNCTION pgflow._wake_workers(p_flow_slug text) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select pg_notify('pgflow_work', p_flow_slug)
$$;


CREATE FUNCTION pgflow._why_no_retry(p_run_id uuid) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select coalesce(
    (
      select 'rows of its steps or tasks were deleted'
       where not exists (select from pgflow.step_states ss where ss.run_id = p_run_id)
          or exists (
            select from pgflow.step_states ss
             where ss.run_id = p_run_id and ss.status in ('started', 'failed') and ss.started_at is not null
               and ss.initial_tasks <> (select count(*) from pgflow.step_tasks t
                                         where t.run_id = ss.run_id and t.step_slug = ss.step_slug)
          )
    ),
    (
      -- The step that made the array has completed, and what is completed stays.
      select format('Map step "%s" expected %s elements, got %s from step "%s", which has completed (rerun from it)',
                    s.step_slug, s.initial_tasks, ss.initial_tasks, d.dep_slug)
        from pgflow.step_states ss
        join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
        join pgflow.deps d on d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
        join pgflow.step_states up on up.run_id = ss.run_id and up.step_slug = d.dep_slug
       where ss.run_id = p_run_id and ss.status = 'failed' and ss.started_at is null
         and s.initial_tasks <> ss.initial_tasks and up.status = 'completed'
       order by s.step_index
       limit 1
    )
  )
$$;


CREATE FUNCTION pgflow.is_valid_slug(slug text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO ''
    AS $_$
  select coalesce(length(slug) <= 128 and slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and slug <> 'run', false)
$_$;


CREATE TABLE pgflow.steps (
    flow_slug text NOT NULL,
    step_slug text NOT NULL,
    step_type text DEFAULT 'single'::text NOT NULL,
    step_index integer DEFAULT 0 NOT NULL,
    deps_count integer DEFAULT 0 NOT NULL,
    opt_max_attempts integer,
    opt_base_delay integer,
    opt_timeout integer,
    opt_start_delay integer,
    required_input_pattern jsonb,
    forbidden_input_pattern jsonb,
    when_unmet text DEFAULT 'skip'::text NOT NULL,
    when_exhausted text DEFAULT 'fail'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    initial_tasks integer,
    CONSTRAINT forbidden_input_pattern_is_object CHECK (((forbidden_input_pattern IS NULL) OR (jsonb_typeof(forbidden_input_pattern) = 'object'::text))),
    CONSTRAINT initial_tasks_is_for_maps CHECK (((initial_tasks IS NULL) OR ((initial_tasks >= 0) AND (step_type = 'map'::text)))),
    CONSTRAINT opt_base_delay_is_nonnegative CHECK ((opt_base_delay >= 0)),
    CONSTRAINT opt_max_attempts_is_nonnegative CHECK ((opt_max_attempts >= 0)),
    CONSTRAINT opt_start_delay_is_nonnegative CHECK ((opt_start_delay >= 0)),
    CONSTRAINT opt_timeout_is_positive CHECK ((opt_timeout > 0)),
    CONSTRAINT required_input_pattern_is_object CHECK (((required_input_pattern IS NULL) OR (jsonb_typeof(required_input_pattern) = 'object'::text))),
    CONSTRAINT steps_deps_count_check CHECK ((deps_count >= 0)),
    CONSTRAINT steps_step_slug_check CHECK (pgflow.is_valid_slug(step_slug)),
    CONSTRAINT steps_step_type_check CHECK ((step_type = ANY (ARRAY['single'::text, 'map'::text]))),
    CONSTRAINT when_exhausted_is_valid CHECK ((when_exhausted = ANY (ARRAY['fail'::text, 'skip'::text, 'skip-cascade'::text]))),
    CONSTRAINT when_unmet_is_valid CHECK ((when_unmet = ANY (ARRAY['fail'::text, 'skip'::text, 'skip-cascade'::text])))
);


CREATE FUNCTION pgflow.add_step(flow_slug text, step_slug text, deps_slugs text[] DEFAULT '{}'::text[], max_attempts integer DEFAULT NULL::integer, base_delay integer DEFAULT NULL::integer, timeout integer DEFAULT NULL::integer, start_delay integer DEFAULT NULL::integer, step_type text DEFAULT 'single'::text, required_input_pattern jsonb DEFAULT NULL::jsonb, forbidden_input_pattern jsonb DEFAULT NULL::jsonb, when_unmet text DEFAULT 'skip'::text, when_exhausted text DEFAULT 'fail'::text) RETURNS pgflow.steps
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_column
declare
  -- A dependency given twice counts once; the order is the one given.
  v_deps constant text[] := array(
    select d.slug from unnest(deps_slugs) with ordinality as d(slug, n) group by d.slug order by min(d.n)
  );
  v_step pgflow.steps;
begin
  if add_step.step_type = 'map' and cardinality(v_deps) > 1 then
    raise exception 'Map step "%" can have at most one dependency, but % were provided: %',
      add_step.step_slug, cardinality(v_deps), array_to_string(v_deps, ', ');
  end if;

  perform from pgflow.flows f where f.flow_slug = add_step.flow_slug for no key update;

  insert into pgflow.steps (
    flow_slug, step_slug, step_type, step_index, deps_count, opt_max_attempts, opt_base_delay, opt_timeout,
    opt_start_delay, required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted
  )
  values (
    add_step.flow_slug, add_step.step_slug, coalesce(add_step.step_type, 'single'),
    (select coalesce(max(s.step_index) + 1, 0) from pgflow.steps s where s.flow_slug = add_step.flow_slug),
    cardinality(v_deps), max_attempts, base_delay, add_step.timeout, start_delay,
    add_step.required_input_pattern, add_step.forbidden_input_pattern,
    add_step.when_unmet, add_step.when_exhausted
  )
  on conflict on constraint steps_pkey do nothing
  returning * into v_step;

  if found then
    insert into pgflow.deps (flow_slug, dep_slug, step_slug)
    select add_step.flow_slug, d.slug, add_step.step_slug from unnest(v_deps) as d(slug);
  else
    select s.* into strict v_step
      from pgflow.steps s where s.flow_slug = add_step.flow_slug and s.step_slug = add_step.step_slug;
  end if;
  return v_step;
end
$$;


CREATE FUNCTION pgflow.calculate_retry_delay(base_delay numeric, attempts_count integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO ''
    AS $$
  select floor(base_delay * power(2::numeric, attempts_count))::int
$$;


CREATE FUNCTION pgflow.cancel_run(run_id uuid, reason text DEFAULT NULL::text) RETURNS SETOF pgflow.runs
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
  v_run constant pgflow.runs := pgflow._hold_run(cancel_run.run_id);
begin
  if v_run.status = 'started' then
    update pgflow.runs r set cancelled_at = greatest(now(), r.started_at) where r.run_id = v_run.run_id;
    perform pgflow._fail_run(v_run.run_id, concat_ws(': ', 'Cancelled', nullif(cancel_run.reason, '')));
  elsif v_run.cancelled_at is null then
    raise exception 'Run % has % and cannot be cancelled', v_run.run_id, v_run.status
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  return query select r.* from pgflow.runs r where r.run_id = v_run.run_id;
end
$$;


CREATE FUNCTION pgflow.cascade_complete_taskless_steps(run_id uuid) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_ready pgflow.step_key[];
  v_wave int;
  v_completed int := 0;
begin
  perform from pgflow.runs r where r.run_id = cascade_complete_taskless_steps.run_id for no key update;
  v_ready := pgflow._ready_steps(cascade_complete_taskless_steps.run_id);
  while cardinality(v_ready) > 0 loop
    select w.completed, w.ready into v_wave, v_ready
      from pgflow._complete_taskless_steps(pgflow._met_steps(v_ready)) w;
    v_completed := v_completed + v_wave;
  end loop;
  return v_completed;
end
$$;


CREATE FUNCTION pgflow.cascade_resolve_conditions(run_id uuid) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id for no key update;
  perform pgflow._judge_steps(pgflow._ready_steps(cascade_resolve_conditions.run_id));
  return not exists (
    select from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id and r.status = 'failed'
  );
end
$$;


CREATE FUNCTION pgflow.complete_task(run_id uuid, step_slug text, task_index integer, output jsonb) RETURNS SETOF pgflow.step_tasks
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_run constant uuid := complete_task.run_id;
  v_step constant text := complete_task.step_slug;
  v_index constant int := complete_task.task_index;
  v_held record;
  v_child text;
begin
  select * into v_held from pgflow._hold_task(v_run, v_step, v_index);

  if v_held.run_status = 'failed' then
    null;
  elsif v_held.step_status <> 'started' then
    perform pgflow._archive_task_message(v_run, v_step, v_index);
  else
    v_child := pgflow._starved_map(v_run, v_step, complete_task.output);
    if v_child is not null then
      perform pgflow._violate_type(v_run, v_step, v_index, complete_task.output, v_child);
    elsif (v_held.task).status = 'started' then
      update pgflow.step_tasks t
         set status = 'completed', output = complete_task.output, leased_until = null,
             completed_at = greatest(now(), t.started_at, t.queued_at)
       where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
      perform pgflow._archive_task_message(v_run, v_step, v_index);
      perform pgflow._count_down_tasks(array[(v_run, v_step)::pgflow.step_key]);
    end if;
  end if;

  return query
    select t.* from pgflow.step_tasks t
     where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
end
$$;


CREATE TABLE pgflow.flows (
    flow_slug text NOT NULL,
    opt_max_attempts integer DEFAULT 3 NOT NULL,
    opt_base_delay integer DEFAULT 1 NOT NULL,
    opt_timeout integer DEFAULT 60 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    looked_at timestamp with time zone,
    paused_at timestamp with time zone,
    CONSTRAINT opt_base_delay_is_nonnegative CHECK ((opt_base_delay >= 0)),
    CONSTRAINT opt_max_attempts_is_nonnegative CHECK ((opt_max_attempts >= 0)),
    CONSTRAINT opt_timeout_is_positive CHECK ((opt_timeout > 0)),
    CONSTRAINT slug_is_valid CHECK (pgflow.is_valid_slug(flow_slug))
);


CREATE FUNCTION pgflow.create_flow(flow_slug text, max_attempts integer DEFAULT NULL::integer, base_delay integer DEFAULT NULL::integer, timeout integer DEFAULT NULL::integer) RETURNS pgflow.flows
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_column
declare
  v_slug constant text := create_flow.flow_slug;
  v_twin text;
  v_flow pgflow.flows;
begin
  if pgflow.is_valid_slug(v_slug) then
    perform pg_advisory_xact_lock(hashtext('pgflow.create_flow'), hashtext(lower(v_slug)));
    if length(v_slug) > 47 then
      raise exception 'Flow slug "%" is too long for a queue name: % characters, at most 47 are allowed',
        v_slug, length(v_slug) using errcode = 'check_violation';
    end if;
    select f.flow_slug into v_twin
      from pgflow.flows f where lower(f.flow_slug) = lower(v_slug) and f.flow_slug <> v_slug;
    if found then
      raise exception 'Flow slug "%" differs only in case from flow "%", and both would share one queue: choose another slug',
        v_slug, v_twin using errcode = 'unique_violation';
    end if;
  end if;

  insert into pgflow.flows (flow_slug, opt_max_attempts, opt_base_delay, opt_timeout)
  values (v_slug, coalesce(max_attempts, 3), coalesce(base_delay, 5), coalesce(create_flow.timeout, 60))
  on conflict (flow_slug) do nothing;

  if to_regclass(format('pgmq.%I', pgflow._queue_table(v_slug))) is null then
    perform pgmq.create(v_slug);
  end if;

  select f.* into strict v_flow from pgflow.flows f where f.flow_slug = v_slug;
  return v_flow;
end
$$;


CREATE FUNCTION pgflow.delete_flow_and_data(p_flow_slug text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform from pgflow.flows f where f.flow_slug = p_flow_slug for update;
  perform from pgflow.runs r where r.flow_slug = p_flow_slug order by r.run_id for no key update;

  if to_regclass(format('pgmq.%I', pgflow._queue_table(p_flow_slug))) is not null then
    perform pgmq.drop_queue(p_flow_slug);
  end if;
  delete from pgflow.step_tasks t
   using pgflow.runs r where r.flow_slug = p_flow_slug and t.run_id = r.run_id;
  delete from pgflow.step_states ss
   using pgflow.runs r where r.flow_slug = p_flow_slug and ss.run_id = r.run_id;
  delete from pgflow.runs r where r.flow_slug = p_flow_slug;
  delete from pgflow.deps d where d.flow_slug = p_flow_slug;
  delete from pgflow.steps s where s.flow_slug = p_flow_slug;
  delete from pgflow.flows f where f.flow_slug = p_flow_slug;
end
$$;


CREATE FUNCTION pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_column
declare
  v_slug constant text := ensure_flow_compiled.flow_slug;
  v_status text;
  v_differences text[] := '{}';
begin
  perform pg_advisory_xact_lock(1, hashtext(v_slug));

  if not exists (select from pgflow.flows f where f.flow_slug = v_slug) then
    perform pgflow._create_flow_from_shape(v_slug, shape);
    v_status := 'compiled';
  else
    v_differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(v_slug));
    if v_differences = '{}' then
      v_status := 'verified';
    elsif pgflow.is_local() or allow_data_loss then
      perform pgflow.delete_flow_and_data(v_slug);
      perform pgflow._create_flow_from_shape(v_slug, shape);
      v_status := 'recompiled';
    else
      v_status := 'mismatch';
    end if;
  end if;
  return jsonb_build_object('status', v_status, 'differences', to_jsonb(v_differences));
end
$$;


CREATE FUNCTION pgflow.extend_leases(worker_id uuid, held jsonb, lease integer) RETURNS TABLE(run_id uuid, step_slug text, task_index integer, fence bigint)
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $_$
#variable_conflict use_column
declare
  v_extended record;
begin
  perform pgflow._note_outage(extend_leases.lease);
  insert into pgflow.workers (worker_id, queue_name, function_name, lease)
  values (extend_leases.worker_id, '', 'pgflow', extend_leases.lease)
  on conflict (worker_id) do update set last_heartbeat_at = now(), lease = excluded.lease;

  for v_extended in
    with mine as materialized (
      select t.run_id, t.step_slug, t.task_index, o.timeout
        from jsonb_to_recordset(held) as h(run_id uuid, step_slug text, task_index int, fence bigint)
        join pgflow.step_tasks t
          on t.run_id = h.run_id and t.step_slug = h.step_slug and t.task_index = h.task_index
        join pgflow._task_options o on o.flow_slug = t.flow_slug and o.step_slug = t.step_slug
       where t.fence = h.fence and t.status = 'started' and t.last_worker_id = extend_leases.worker_id
       order by t.run_id, t.step_slug, t.task_index
         for no key update of t skip locked
    ),
    extended as (
      update pgflow.step_tasks t
         set leased_until = greatest(t.leased_until, least(
               clock_timestamp() + make_interval(secs => extend_leases.lease),
               t.started_at + make_interval(secs => m.timeout + 2)))
        from mine m
       where t.run_id = m.run_id and t.step_slug = m.step_slug and t.task_index = m.task_index
      returning t.flow_slug, t.message_id, t.leased_until
    )
    select e.flow_slug, array_agg(e.message_id) as msg_ids, array_agg(e.leased_until) as ats
      from extended e group by e.flow_slug order by e.flow_slug
  loop
    execute format(
      $q$
        with free as materialized (
          select q.msg_id, w.at
            from unnest($1, $2) as w(msg_id, at) join pgmq.%1$I q on q.msg_id = w.msg_id
           order by q.msg_id
             for update of q skip locked
        )
        update pgmq.%1$I q set vt = f.at from free f where q.msg_id = f.msg_id
      $q$, pgflow._queue_table(v_extended.flow_slug)
    ) using v_extended.msg_ids, v_extended.ats;
  end loop;

  return query
    select h.run_id, h.step_slug, h.task_index, h.fence
      from jsonb_to_recordset(held) as h(run_id uuid, step_slug text, task_index int, fence bigint)
     -- a look-up by primary key in each table, whatever the planner knows of them
     where (
       select t.fence = h.fence and t.status = 'started' and t.last_worker_id = extend_leases.worker_id
         from pgflow.step_tasks t
        where t.run_id = h.run_id and t.step_slug = h.step_slug and t.task_index = h.task_index
     ) is not true or not pgflow._is_open(h.run_id, h.step_slug);
end
$_$;


CREATE FUNCTION pgflow.fail_stalled_tasks() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
  v_run_ids uuid[];
  v_task record;
  v_failed int := 0;
begin
  v_run_ids := array(
    select r.run_id from pgflow.runs r
     where r.status = 'started'
       and r.run_id in (select t.run_id from pgflow.step_tasks t
                         where t.permanently_stalled_at is not null and t.status = 'started')
     order by r.run_id for no key update
  );
  if v_run_ids = '{}' then
    return 0;
  end if;
  perform from pgflow.step_states ss
    where ss.run_id = any (v_run_ids) and ss.status = 'started'
    order by ss.run_id, ss.step_slug for no key update;
  perform from pgflow.step_tasks t
    where t.run_id = any (v_run_ids) and t.permanently_stalled_at is not null and t.status = 'started'
    order by t.run_id, t.step_slug, t.task_index for no key update;
  perform pgflow._lock_open_messages(v_run_ids);

  for v_task in
    select t.run_id, t.step_slug, t.task_index, t.requeued_count
      from pgflow.step_tasks t
     where t.run_id = any (v_run_ids) and t.permanently_stalled_at is not null and t.status = 'started'
     order by t.run_id, t.step_slug, t.task_index
  loop
    -- one may end the step or the run of the next
    if pgflow._is_open(v_task.run_id, v_task.step_slug) then
      perform pgflow._exhaust_task(
        v_task.run_id, v_task.step_slug, v_task.task_index,
        format('Task stalled %s times', v_task.requeued_count));
      v_failed := v_failed + 1;
    end if;
  end loop;
  return v_failed;
end
$$;


CREATE FUNCTION pgflow.fail_task(run_id uuid, step_slug text, task_index integer, error_message text) RETURNS SETOF pgflow.step_tasks
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_run constant uuid := fail_task.run_id;
  v_step constant text := fail_task.step_slug;
  v_index constant int := fail_task.task_index;
  v_held record;
  v_task pgflow.step_tasks;
  v_max_attempts int;
  v_base_delay int;
begin
  select * into v_held from pgflow._hold_task(v_run, v_step, v_index);
  v_task := v_held.task;

  if v_held.run_status = 'failed' then
    update pgflow.step_tasks t
       set status = 'failed', error_message = fail_task.error_message, leased_until = null,
           failed_at = greatest(now(), t.started_at, t.queued_at)
     where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index and t.status = 'started';
    perform pgflow._archive_task_message(v_run, v_step, v_index);
  elsif v_held.step_status <> 'started' then
    perform pgflow._archive_task_message(v_run, v_step, v_index);
  elsif v_task.status = 'started' then
    select o.max_attempts, o.base_delay into strict v_max_attempts, v_base_delay
      from pgflow._task_options o where o.flow_slug = v_task.flow_slug and o.step_slug = v_step;
    if v_task.attempts_count < v_max_attempts then
      update pgflow.step_tasks t
         set status = 'queued', started_at = null, error_message = fail_task.error_message, leased_until = null,
             permanently_stalled_at = null
       where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
      perform pgflow._show_again(
        v_task.flow_slug,
        array[(v_run, v_step, v_index, v_task.message_id)::pgflow.task_key],
        array[clock_timestamp()
              + make_interval(secs => pgflow.calculate_retry_delay(v_base_delay, v_task.attempts_count))]
      );
    else
      perform pgflow._exhaust_task(v_run, v_step, v_index, fail_task.error_message);
    end if;
  end if;

  return query
    select t.* from pgflow.step_tasks t
     where t.run_id = v_run and t.step_slug = v_step and t.task_index = v_index;
end
$$;


CREATE FUNCTION pgflow.get_run_with_states(run_id uuid) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select jsonb_build_object(
           'run', to_jsonb(r),
           'steps', coalesce(
             (select jsonb_agg(to_jsonb(ss) order by s.step_index)
                from pgflow.step_states ss
                join pgflow.steps s on s.flow_slug = ss.flow_slug and s.step_slug = ss.step_slug
               where ss.run_id = r.run_id), '[]'))
    from pgflow.runs r
   where r.run_id = get_run_with_states.run_id
$$;


CREATE FUNCTION pgflow.is_local() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select coalesce(
    current_setting('app.settings.jwt_secret', true)
      = 'super-secret-jwt-token-with-at-least-32-characters-long',
    false
  )
$$;


CREATE FUNCTION pgflow.mark_worker_stopped(worker_id uuid) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  update pgflow.workers w set stopped_at = clock_timestamp() where w.worker_id = mark_worker_stopped.worker_id
$$;


CREATE FUNCTION pgflow.maybe_complete_run(run_id uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform from pgflow.runs r where r.run_id = maybe_complete_run.run_id for no key update;
  perform pgflow._complete_runs(array[maybe_complete_run.run_id]);
end
$$;


CREATE FUNCTION pgflow.pause_flow(flow_slug text) RETURNS SETOF pgflow.flows
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.flows f set paused_at = now() where f.flow_slug = pause_flow.flow_slug and f.paused_at is null;
  return query select f.* from pgflow.flows f where f.flow_slug = pause_flow.flow_slug;
  if not found then
    raise exception 'Flow not found: %', pause_flow.flow_slug using errcode = 'foreign_key_violation';
  end if;
end
$$;


CREATE FUNCTION pgflow.poll_for_tasks(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100) RETURNS SETOF pgflow.step_task_record
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  raise notice 'pgflow.poll_for_tasks is deprecated and returns nothing: use pgmq.read_with_poll and pgflow.start_tasks';
end
$$;


CREATE FUNCTION pgflow.poll_tasks(flow_slugs text[], worker_id uuid, qty integer, lease integer) RETURNS TABLE(flow_slug text, run_id uuid, step_slug text, task_index integer, msg_id bigint, input jsonb, flow_input jsonb, fence bigint, attempt integer, max_attempts integer, timeout integer, base_delay integer, next_visible_in double precision)
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_flows text[] := array(
    select f.flow_slug from pgflow.flows f
     where f.flow_slug = any (flow_slugs) and f.paused_at is null
     order by random()
  );
  v_flow text;
  v_asked text[];
  v_saturated text[];
  v_left int := qty;
  v_until timestamptz;
  v_keys pgflow.task_key[];
  v_claimed int;
  v_next timestamptz;
begin
  perform pgflow._look_through(v_flows, lease);
  if cardinality(v_flows) > 1 then
    v_until := clock_timestamp();
    select coalesce(array_agg(w.flow order by w.n) filter (where w.at <= v_until), '{}'),
           min(w.at) filter (where w.at > v_until)
      into v_flows, v_next
      from unnest(v_flows, pgflow._first_visible(v_flows)) with ordinality as w(flow, at, n);
  end if;
  v_asked := v_flows;
  -- In rounds, as long as some flow has more to give than its share.
  while v_left > 0 and cardinality(v_flows) > 0 loop
    v_saturated := '{}';
    for i in 1 .. cardinality(v_flows) loop
      exit when v_left <= 0;
      v_flow := v_flows[i];
      v_until := clock_timestamp() + make_interval(secs => lease);
      v_keys := pgflow._take_messages(
        v_flow, ceil(v_left::numeric / (cardinality(v_flows) - i + 1))::int, v_until);
      continue when v_keys = '{}';
      v_saturated := v_saturated || v_flow;

      return query
        select c.*, null::double precision from pgflow._claim_tasks(v_keys, poll_tasks.worker_id, v_until) c;
      get diagnostics v_claimed = row_count;
      v_left := v_left - v_claimed;
      continue when v_claimed = cardinality(v_keys);

      v_keys := pgflow._sort_out_messages(v_flow, array(
        select k from unnest(v_keys) as k
         where (
           select t.message_id = k.msg_id and t.leased_until = v_until and t.last_worker_id = poll_tasks.worker_id
             from pgflow.step_tasks t
            where t.run_id = k.run_id and t.step_slug = k.step_slug and t.task_index = k.task_index
         ) is not true
      ), lease);
      return query
        select c.*, null::double precision from pgflow._claim_tasks(v_keys, poll_tasks.worker_id, v_until) c;
      get diagnostics v_claimed = row_count;
      v_left := v_left - v_claimed;
    end loop;
    v_flows := v_saturated;
  end loop;

  if v_left > 0 then
    select least(v_next, min(pgflow._next_visible(f.slug))) into v_next from unnest(v_asked) as f(slug);
  else
    v_next := null;
  end if;
  return query
    select null::text, null::uuid, null::text, null::int, null::bigint, null::jsonb, null::jsonb, null::bigint,
           null::int, null::int, null::int, null::int,
           case when v_next is not null then greatest(extract(epoch from v_next - clock_timestamp()), 0) end
             ::double precision;
end
$$;


CREATE FUNCTION pgflow.prune_data_older_than(retention_interval interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_cutoff constant timestamptz := now() - retention_interval;
  v_run_ids uuid[];
  v_queue record;
begin
  delete from pgflow.workers w where w.last_heartbeat_at < v_cutoff;

  v_run_ids := array(
    select r.run_id from pgflow.runs r
     where r.completed_at < v_cutoff or r.failed_at < v_cutoff
     order by r.run_id for no key update
  );
  for v_queue in
    select t.flow_slug, array_agg(t.message_id) as msg_ids
      from unnest(v_run_ids) as w(run_id)
      join pgflow.step_tasks t on t.run_id = w.run_id
     where t.message_id is not null
     group by t.flow_slug
  loop
    perform pgmq.delete(v_queue.flow_slug, v_queue.msg_ids);
  end loop;
  delete from pgflow.step_tasks t using unnest(v_run_ids) as w(run_id) where t.run_id = w.run_id;
  delete from pgflow.step_states ss using unnest(v_run_ids) as w(run_id) where ss.run_id = w.run_id;
  delete from pgflow.runs r using unnest(v_run_ids) as w(run_id) where r.run_id = w.run_id;

  for v_queue in
    select 'a_' || lower(f.flow_slug) as archive
      from pgflow.flows f
     where to_regclass(format('pgmq.%I', 'a_' || lower(f.flow_slug))) is not null -- a caller's row may have no queue
     order by f.flow_slug
  loop
    execute format('delete from pgmq.%I where archived_at < $1', v_queue.archive) using v_cutoff;
  end loop;
end
$_$;


CREATE FUNCTION pgflow.register_worker(worker_id uuid, queue_name text, function_name text, lease integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_column
begin
  perform pgflow._note_outage(register_worker.lease);
  insert into pgflow.workers (worker_id, queue_name, function_name, lease)
  values (register_worker.worker_id, register_worker.queue_name, register_worker.function_name, register_worker.lease)
  on conflict (worker_id) do update
    set queue_name = excluded.queue_name, function_name = excluded.function_name, lease = excluded.lease,
        last_heartbeat_at = now(), stopped_at = null;
end
$$;


CREATE FUNCTION pgflow.requeue_stalled_tasks() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  -- Of all leases the longest: a shorter silence than that is none.
  v_in_grace constant boolean := clock_timestamp() < pgflow._note_outage(
    coalesce((select max(w.lease) from pgflow.workers w), 0));
  v_requeued int := 0;
  v_flow record;
begin
  for v_flow in
    with stalled as materialized (
      select t.run_id, t.step_slug, t.task_index, t.requeued_count >= 3 as over
        from pgflow.step_states ss
        join pgflow._task_options o on o.flow_slug = ss.flow_slug and o.step_slug = ss.step_slug
        join pgflow.step_tasks t on t.run_id = ss.run_id and t.step_slug = ss.step_slug
       where ss.status = 'started' and t.status = 'started' and t.permanently_stalled_at is null
         and t.started_at < now() - make_interval(secs => o.timeout + 30)
         and not (v_in_grace and t.leased_until is not null)
       order by t.run_id, t.step_slug, t.task_index
         for no key update of t skip locked
    ),
    moved as (
      update pgflow.step_tasks t
         set status = case when s.over then t.status else 'queued' end,
             started_at = case when s.over then t.started_at end,
             last_worker_id = case when s.over then t.last_worker_id end,
             leased_until = null,
             requeued_count = t.requeued_count + case when s.over then 0 else 1 end,
             last_requeued_at = case when s.over then t.last_requeued_at else greatest(now(), t.queued_at) end,
             permanently_stalled_at = case when s.over then greatest(now(), t.queued_at) end
        from stalled s
       where t.run_id = s.run_id and t.step_slug = s.step_slug and t.task_index = s.task_index
      returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id, s.over
    )
    select m.flow_slug,
           coalesce(array_agg(m.message_id) filter (where m.over), '{}') as given_up,
           coalesce(array_agg((m.run_id, m.step_slug, m.task_index, m.message_id)::pgflow.task_key)
             filter (where not m.over), '{}') as requeued
      from moved m
     group by m.flow_slug
     order by m.flow_slug
  loop
    perform pgflow._lock_messages(
      v_flow.flow_slug, v_flow.given_up || array(select k.msg_id from unnest(v_flow.requeued) as k));
    perform pgflow._archive_messages(v_flow.flow_slug, array_remove(v_flow.given_up, null));
    if v_flow.requeued <> '{}' then
      perform pgflow._show_again(
        v_flow.flow_slug, v_flow.requeued,
        array_fill(clock_timestamp(), array[cardinality(v_flow.requeued)]));
      v_requeued := v_requeued + cardinality(v_flow.requeued);
    end if;
  end loop;
  return v_requeued;
end
$$;


CREATE FUNCTION pgflow.rerun(run_id uuid, from_step text, input jsonb DEFAULT NULL::jsonb) RETURNS SETOF pgflow.runs
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
  v_parent constant pgflow.runs := pgflow._hold_run(rerun.run_id);
  v_input constant jsonb := coalesce(rerun.input, v_parent.input);
  v_again constant text[] := pgflow._steps_from(v_parent.flow_slug, rerun.from_step);
  v_kept text[];
  v_run_id uuid;
begin
  if v_again = '{}' then
    raise exception 'Flow % has no step "%"', v_parent.flow_slug, rerun.from_step;
  end if;
  v_kept := array(
    select ss.step_slug from pgflow.step_states ss
     where ss.run_id = v_parent.run_id and ss.status in ('completed', 'skipped') and ss.step_slug <> all (v_again)
  );
  if jsonb_typeof(v_input) <> 'array' and exists (
    select from pgflow.steps s
     where s.flow_slug = v_parent.flow_slug and s.step_type = 'map' and s.deps_count = 0
       and s.initial_tasks is null and s.step_slug <> all (v_kept)
  ) then
    raise exception '%', pgflow._no_array(v_parent.flow_slug, v_input);
  end if;

  insert into pgflow.runs (flow_slug, input, parent_run_id, remaining_steps)
  select v_parent.flow_slug, v_input, v_parent.run_id, count(*)
    from pgflow.steps s where s.flow_slug = v_parent.flow_slug and s.step_slug <> all (v_kept)
  returning runs.run_id into v_run_id;
  perform pgflow._take_over_steps(v_run_id, v_parent.run_id, v_kept);
  perform pgflow._emit_runs(array[v_run_id]);
  perform pgflow._advance(array[v_run_id], pgflow._ready_steps(v_run_id));
  return query select r.* from pgflow.runs r where r.run_id = v_run_id;
end
$$;


CREATE FUNCTION pgflow.resume_flow(flow_slug text) RETURNS SETOF pgflow.flows
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  update pgflow.flows f set paused_at = null where f.flow_slug = resume_flow.flow_slug and f.paused_at is not null;
  if found then
    perform pgflow._wake_workers(resume_flow.flow_slug);
  end if;
  return query select f.* from pgflow.flows f where f.flow_slug = resume_flow.flow_slug;
  if not found then
    raise exception 'Flow not found: %', resume_flow.flow_slug using errcode = 'foreign_key_violation';
  end if;
end
$$;


CREATE FUNCTION pgflow.retry_run(run_id uuid) RETURNS SETOF pgflow.runs
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
  v_run constant pgflow.runs := pgflow._hold_run(retry_run.run_id);
  v_why_not text;
  v_restarted pgflow.step_key[];
begin
  if v_run.status = 'completed' then
    raise exception 'Run % has completed and cannot be retried (rerun starts a new run from one of its steps)',
      v_run.run_id using errcode = 'object_not_in_prerequisite_state';
  end if;
  if v_run.status = 'failed' then
    perform from pgflow.step_states ss
      where ss.run_id = v_run.run_id order by ss.step_slug for no key update;
    v_why_not := pgflow._why_no_retry(v_run.run_id);
    if v_why_not is not null then
      raise exception 'Run % cannot be retried: %', v_run.run_id, v_why_not
        using errcode = 'object_not_in_prerequisite_state';
    end if;

    v_restarted := pgflow._reopen_steps(v_run.run_id);
    update pgflow.runs r
       set status = 'started',
           started_at = greatest(now(), r.started_at),
           failed_at = null,
           cancelled_at = null,
           error_message = null,
           remaining_steps = (
             select count(*) from pgflow.step_states ss
              where ss.run_id = r.run_id and ss.status in ('created', 'started'))
     where r.run_id = v_run.run_id;
    perform pgflow._emit_runs(array[v_run.run_id]);
    perform pgflow._emit_steps(v_restarted);
    perform pgflow._queue_anew(v_run.run_id, v_run.flow_slug);
    perform pgflow._advance(array[v_run.run_id], pgflow._ready_steps(v_run.run_id));
  end if;
  return query select r.* from pgflow.runs r where r.run_id = v_run.run_id;
end
$$;


CREATE FUNCTION pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets integer[]) RETURNS TABLE(msg_id bigint, read_ct integer, enqueued_at timestamp with time zone, vt timestamp with time zone, message jsonb, headers jsonb)
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
#variable_conflict use_column
begin
  if msg_ids is null or vt_offsets is null or (msg_ids = '{}' and vt_offsets = '{}') then
    return;
  end if;
  if cardinality(msg_ids) <> cardinality(vt_offsets) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)',
      cardinality(msg_ids), cardinality(vt_offsets);
  end if;
  return query execute format(
    $q$
      with locked as materialized (
        select q.msg_id, w.seconds
          from unnest($1, $2) as w(msg_id, seconds) join pgmq.%1$I q on q.msg_id = w.msg_id
         order by q.msg_id
           for update of q
      )
      update pgmq.%1$I q set vt = clock_timestamp() + make_interval(secs => l.seconds)
        from locked l
       where q.msg_id = l.msg_id
      returning q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, nullif(to_jsonb(q) -> 'headers', 'null')
    $q$, pgflow._queue_table(queue_name)
  ) using msg_ids, vt_offsets;
end
$_$;


CREATE FUNCTION pgflow.settle_and_poll(worker_id uuid, outcomes jsonb, flow_slugs text[], qty integer, lease integer) RETURNS TABLE(flow_slug text, run_id uuid, step_slug text, task_index integer, msg_id bigint, input jsonb, flow_input jsonb, fence bigint, attempt integer, max_attempts integer, timeout integer, base_delay integer, next_visible_in double precision, verdicts text[])
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_column
declare
  v_verdicts constant text[] := pgflow.settle_tasks(settle_and_poll.worker_id, outcomes);
begin
  return query
    select p.*, case when p.run_id is null then v_verdicts end
      from pgflow.poll_tasks(flow_slugs, settle_and_poll.worker_id, qty, lease) as p;
end
$$;


CREATE FUNCTION pgflow.settle_tasks(worker_id uuid, outcomes jsonb) RETURNS text[]
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_outcomes pgflow.outcome[];
  v_judged pgflow.judged_outcome[];
  v_actions text[];
  v_verdicts text[];
  v_ending uuid[];
  v_last pgflow.judged_outcome;
begin
  v_outcomes := array(
    select (x.n, row_number() over (partition by x.run_id, x.step_slug, x.task_index, x.fence order by x.n),
            x.run_id, x.step_slug, x.task_index, x.fence, x.status, x.error, x.permanent, x.retry_in)::pgflow.outcome
      from rows from (
             jsonb_to_recordset(outcomes) as (
               run_id uuid, step_slug text, task_index int, fence bigint, status text, error text,
               permanent boolean, retry_in double precision)
           ) with ordinality as x(run_id, step_slug, task_index, fence, status, error, permanent, retry_in, n)
  );
  if exists (
    select from unnest(v_outcomes) as o
     where o.status is null or o.status not in ('completed', 'failed', 'released')
  ) then
    raise exception 'every outcome needs a status: completed, failed or released';
  end if;
  perform from pgflow.runs r
    where r.run_id = any (array(select distinct o.run_id from unnest(v_outcomes) as o))
    order by r.run_id for no key update;
  -- one look-up by primary key after the other, in this order, whatever the planner knows of the table
  perform from (
      select distinct o.run_id, o.step_slug from unnest(v_outcomes) as o order by o.run_id, o.step_slug
    ) k
    cross join lateral (
      select from pgflow.step_states ss
       where ss.run_id = k.run_id and ss.step_slug = k.step_slug for no key update
    ) locked;

  v_judged := array(select j from pgflow._judge_outcomes(v_outcomes, outcomes) j);
  v_verdicts := array(select coalesce(j.verdict, 'applied') from unnest(v_judged) as j order by j.n);
  v_actions := array(select distinct j.action from unnest(v_judged) as j);

  if v_actions && array['release', 'retry'] then
    perform pgflow._put_back(array(select j from unnest(v_judged) as j where j.action in ('release', 'retry')));
  end if;
  if v_actions && array['complete'] then
    perform pgflow._complete_tasks(
      settle_tasks.worker_id, array(select j from unnest(v_judged) as j where j.action = 'complete'), outcomes);
  end if;
  v_ending := array(
    select distinct j.run_id from unnest(v_judged) as j where j.action in ('violate', 'exhaust')
  );
  if cardinality(v_ending) > 1 then
    perform pgflow._lock_open_messages(v_ending);
  end if;
  -- Each of these may end its step or its run, and with it the reason for the next.
  for v_last in
    select j.* from unnest(v_judged) as j where j.action in ('violate', 'exhaust')
     order by j.action = 'exhaust', j.n
  loop
    if pgflow._is_open(v_last.run_id, v_last.step_slug) then
      update pgflow.step_tasks t set settled_fence = t.fence
       where t.run_id = v_last.run_id and t.step_slug = v_last.step_slug and t.task_index = v_last.task_index;
      if v_last.action = 'violate' then
        perform pgflow._violate_type(v_last.run_id, v_last.step_slug, v_last.task_index,
                                     outcomes -> (v_last.n - 1) -> 'output', v_last.starved_map);
      else
        perform pgflow._exhaust_task(v_last.run_id, v_last.step_slug, v_last.task_index, v_last.error);
      end if;
    else
      v_verdicts[v_last.n] := 'gone';
    end if;
  end loop;
  return v_verdicts;
end
$$;


CREATE FUNCTION pgflow.start_flow(flow_slug text, input jsonb, run_id uuid DEFAULT NULL::uuid) RETURNS SETOF pgflow.runs
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
  v_ids uuid[];
begin
  if pgflow._takes_array(start_flow.flow_slug) and jsonb_typeof(start_flow.input) is distinct from 'array' then
    raise exception '%', pgflow._no_array(start_flow.flow_slug, start_flow.input);
  end if;
  v_ids := pgflow._start_runs(start_flow.flow_slug, array[start_flow.input], array[start_flow.run_id], null, null);
  return query select r.* from pgflow.runs r where r.run_id = v_ids[1];
end
$$;


CREATE FUNCTION pgflow.start_flow_with_states(flow_slug text, input jsonb, run_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_run_id uuid;
begin
  select r.run_id into strict v_run_id
    from pgflow.start_flow(
      start_flow_with_states.flow_slug, start_flow_with_states.input, start_flow_with_states.run_id) r;
  return pgflow.get_run_with_states(v_run_id);
end
$$;


CREATE FUNCTION pgflow.start_flows(flow_slug text, inputs jsonb[], run_ids uuid[] DEFAULT NULL::uuid[], keys text[] DEFAULT NULL::text[], start_at timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS SETOF pgflow.runs
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_takes_array boolean;
  v_fault text;
  v_ids uuid[];
begin
  v_takes_array := pgflow._takes_array(start_flows.flow_slug);
  select format('Input %s: %s', w.i - 1,
                case when v_takes_array then pgflow._no_array(start_flows.flow_slug, w.input) else 'is NULL' end)
    into v_fault
    from unnest(start_flows.inputs) with ordinality as w(input, i)
   where w.input is null or (v_takes_array and jsonb_typeof(w.input) <> 'array')
   order by w.i
   limit 1;
  if found then
    raise exception '%', v_fault;
  end if;
  if cardinality(run_ids) <> cardinality(inputs) or cardinality(keys) <> cardinality(inputs) then
    raise exception 'run_ids (%) and keys (%) must be as many as inputs (%)',
      cardinality(run_ids), cardinality(keys), cardinality(inputs);
  end if;

  v_ids := pgflow._start_runs(start_flows.flow_slug, inputs, run_ids, keys, start_flows.start_at);
  return query
    select r.* from unnest(v_ids) with ordinality as w(run_id, i)
     cross join lateral (select x.* from pgflow.runs x where x.run_id = w.run_id offset 0) r
     order by w.i;
end
$$;


CREATE FUNCTION pgflow.start_ready_steps(run_id uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform from pgflow.runs r where r.run_id = start_ready_steps.run_id for no key update;
  perform from pgflow.step_states ss
    where ss.run_id = start_ready_steps.run_id and ss.status = 'created' and ss.remaining_deps = 0
    order by ss.step_slug for no key update;
  perform pgflow._start_steps(pgflow._met_steps(pgflow._ready_steps(start_ready_steps.run_id)));
end
$$;


CREATE FUNCTION pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid) RETURNS SETOF pgflow.step_task_record
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_claimed pgflow.claimed_task[];
begin
  -- An unknown flow has no queue, and so no tasks.
  if coalesce(cardinality(msg_ids), 0) = 0
     or to_regclass(format('pgmq.%I', pgflow._queue_table(start_tasks.flow_slug))) is null
     or exists (select from pgflow.flows f where f.flow_slug = start_tasks.flow_slug and f.paused_at is not null) then
    return;
  end if;
  v_claimed := array(
    select c from pgflow._claim_tasks(
      pgflow._task_keys(start_tasks.flow_slug, msg_ids), start_tasks.worker_id, null) c
  );
  perform pgflow.set_vt_batch(
    start_tasks.flow_slug,
    array(select c.msg_id from unnest(v_claimed) with ordinality as c order by c.ordinality),
    array(select c.timeout + 2 from unnest(v_claimed) with ordinality as c order by c.ordinality)
  );
  return query
    select c.flow_slug, c.run_id, c.step_slug, c.input, c.msg_id, c.task_index, c.flow_input
      from unnest(v_claimed) as c;
end
$$;


CREATE FUNCTION pgflow.track_worker_function(function_name text) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  insert into pgflow.worker_functions as f (function_name, updated_at)
  values (track_worker_function.function_name, clock_timestamp())
  on conflict (function_name) do update set updated_at = clock_timestamp()
$$;


CREATE FUNCTION pgmq._belongs_to_pgmq(table_name text) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    sql TEXT;
    result BOOLEAN;
BEGIN
  SELECT EXISTS (
    SELECT 1
    FROM pg_depend
    WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgmq')
    AND objid = (
        SELECT oid
        FROM pg_class
        WHERE relname = table_name
    )
  ) INTO result;
  RETURN result;
END;
$$;


CREATE FUNCTION pgmq._create_fifo_index_if_not_exists(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
    index_name TEXT := qtable || '_fifo_idx';
BEGIN
    -- Create GIN index on headers for efficient FIFO key lookups
    EXECUTE FORMAT(
        $QUERY$
        CREATE INDEX IF NOT EXISTS %I ON pgmq.%I USING GIN (headers);
        $QUERY$,
        index_name, qtable
    );
END;
$_$;


CREATE FUNCTION pgmq._ensure_pg_partman_installed() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
  IF NOT pgmq._extension_exists('pg_partman') THEN
    RAISE EXCEPTION 'pg_partman is required for partitioned queues';
  END IF;
END;
$$;


CREATE FUNCTION pgmq._extension_exists(extension_name text) RETURNS boolean
    LANGUAGE sql
    AS $$
SELECT EXISTS (
    SELECT 1
    FROM pg_extension
    WHERE extname = extension_name
)
$$;


CREATE FUNCTION pgmq._get_partition_col(partition_interval text) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
  num INTEGER;
BEGIN
    BEGIN
        num := partition_interval::INTEGER;
        RETURN 'msg_id';
    EXCEPTION
        WHEN others THEN
            RETURN 'enqueued_at';
    END;
END;
$$;


CREATE FUNCTION pgmq._get_pg_partman_major_version() RETURNS integer
    LANGUAGE sql
    AS $$
  SELECT split_part(extversion, '.', 1)::INT
  FROM pg_extension
  WHERE extname = 'pg_partman'
$$;


CREATE FUNCTION pgmq._get_pg_partman_schema() RETURNS text
    LANGUAGE sql
    AS $$
  SELECT
    extnamespace::regnamespace::text
  FROM
    pg_extension
  WHERE
    extname = 'pg_partman';
$$;


CREATE FUNCTION pgmq._send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay timestamp with time zone) RETURNS SETOF bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
            $QUERY$
        INSERT INTO pgmq.%I (vt, message, headers)
        SELECT $2, unnest($1), unnest(coalesce($3, ARRAY[]::jsonb[]))
        RETURNING msg_id;
        $QUERY$,
            qtable
           );
    RETURN QUERY EXECUTE sql USING msgs, delay, headers;
END;
$_$;


CREATE FUNCTION pgmq._validate_batch_params(msgs jsonb[], headers jsonb[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- Validate that msgs is not NULL or empty
    IF msgs IS NULL OR array_length(msgs, 1) IS NULL THEN
        RAISE EXCEPTION 'msgs cannot be NULL or empty';
    END IF;

    -- Validate that headers array length matches msgs array length if headers is provided
    -- Note: array_length returns NULL for empty arrays, so we use COALESCE to treat empty arrays as length 0
    IF headers IS NOT NULL AND COALESCE(array_length(headers, 1), 0) != COALESCE(array_length(msgs, 1), 0) THEN
        RAISE EXCEPTION 'headers array length (%) must match msgs array length (%)',
            COALESCE(array_length(headers, 1), 0), COALESCE(array_length(msgs, 1), 0);
    END IF;
END;
$$;


CREATE FUNCTION pgmq.acquire_queue_lock(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('pgmq.queue_' || queue_name));
END;
$$;


CREATE FUNCTION pgmq.archive(queue_name text, msg_ids bigint[]) RETURNS SETOF bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
    atable TEXT := pgmq.format_table_name(queue_name, 'a');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH archived AS (
            DELETE FROM pgmq.%I
            WHERE msg_id = ANY($1)
            RETURNING msg_id, vt, read_ct, enqueued_at, last_read_at, message, headers
        )
        INSERT INTO pgmq.%I (msg_id, vt, read_ct, enqueued_at, last_read_at, message, headers)
        SELECT msg_id, vt, read_ct, enqueued_at, last_read_at, message, headers
        FROM archived
        RETURNING msg_id;
        $QUERY$,
        qtable, atable
    );
    RETURN QUERY EXECUTE sql USING msg_ids;
END;
$_$;


CREATE FUNCTION pgmq.archive(queue_name text, msg_id bigint) RETURNS boolean
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    result BIGINT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
    atable TEXT := pgmq.format_table_name(queue_name, 'a');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH archived AS (
            DELETE FROM pgmq.%I
            WHERE msg_id = $1
            RETURNING msg_id, vt, read_ct, enqueued_at, last_read_at, message, headers
        )
        INSERT INTO pgmq.%I (msg_id, vt, read_ct, enqueued_at, last_read_at, message, headers)
        SELECT msg_id, vt, read_ct, enqueued_at, last_read_at, message, headers
        FROM archived
        RETURNING msg_id;
        $QUERY$,
        qtable, atable
    );
    EXECUTE sql USING msg_id INTO result;
    RETURN NOT (result IS NULL);
END;
$_$;


CREATE FUNCTION pgmq.bind_topic(pattern text, queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pgmq.validate_topic_pattern(pattern);
    IF queue_name IS NULL OR queue_name = '' THEN
        RAISE EXCEPTION 'queue_name cannot be NULL or empty';
    END IF;

    IF NOT EXISTS (SELECT 1 FROM pgmq.meta WHERE meta.queue_name = bind_topic.queue_name) THEN
        RAISE EXCEPTION 'Queue "%" does not exist. Create the queue first using pgmq.create()', queue_name;
    END IF;

    INSERT INTO pgmq.topic_bindings (pattern, queue_name)
    VALUES (pattern, queue_name)
    ON CONFLICT ON CONSTRAINT topic_bindings_unique_pattern_queue DO NOTHING;
END;
$$;


CREATE FUNCTION pgmq.convert_archive_partitioned(table_name text, partition_interval text DEFAULT '10000'::text, retention_interval text DEFAULT '100000'::text, leading_partition integer DEFAULT 10) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  a_table_name TEXT := pgmq.format_table_name(table_name, 'a');
  a_table_name_old TEXT := pgmq.format_table_name(table_name, 'a') || '_old';
  qualified_a_table_name TEXT := format('pgmq.%I', a_table_name);
  partition_col TEXT;
  a_partition_col TEXT;
BEGIN

  PERFORM c.relkind
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = a_table_name
    AND c.relkind = 'p';

  IF FOUND THEN
    RAISE NOTICE 'Table %s is already partitioned', a_table_name;
    RETURN;
  END IF;

  PERFORM c.relkind
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = a_table_name
    AND c.relkind = 'r';

  IF NOT FOUND THEN
    RAISE NOTICE 'Table %s does not exists', a_table_name;
    RETURN;
  END IF;

  SELECT pgmq._get_partition_col(partition_interval) INTO partition_col;

  -- For archive tables, use archived_at for time-based partitioning
  IF partition_col = 'enqueued_at' THEN
    a_partition_col := 'archived_at';
  ELSE
    a_partition_col := partition_col;
  END IF;

  EXECUTE 'ALTER TABLE ' || qualified_a_table_name || ' RENAME TO ' || a_table_name_old;

  -- When partitioning by time (archived_at), we need to exclude constraints and indexes
  -- because the existing PRIMARY KEY on msg_id alone is incompatible with partitioning by archived_at.
  -- When partitioning by msg_id, we can keep all constraints including PRIMARY KEY.
  IF a_partition_col = 'archived_at' THEN
    EXECUTE format( 'CREATE TABLE pgmq.%I (LIKE pgmq.%I including defaults including generated including storage including comments) PARTITION BY RANGE (%I)', a_table_name, a_table_name_old, a_partition_col );
  ELSE
    EXECUTE format( 'CREATE TABLE pgmq.%I (LIKE pgmq.%I including all) PARTITION BY RANGE (%I)', a_table_name, a_table_name_old, a_partition_col );
  END IF;

  EXECUTE 'ALTER INDEX pgmq.archived_at_idx_' || table_name || ' RENAME TO archived_at_idx_' || table_name || '_old';
  EXECUTE 'CREATE INDEX archived_at_idx_'|| table_name || ' ON ' || qualified_a_table_name ||'(archived_at)';

  -- https://github.com/pgpartman/pg_partman/blob/master/doc/pg_partman.md
  -- p_parent_table - the existing parent table. MUST be schema qualified, even if in public schema.
  EXECUTE FORMAT(
    $QUERY$
    SELECT %I.create_parent(
      p_parent_table := %L,
      p_control := %L,
      p_interval := %L,
      p_type := case
        when pgmq._get_pg_partman_major_version() = 5 then 'range'
        else 'native'
      end
    )
    $QUERY$,
    pgmq._get_pg_partman_schema(),
    qualified_a_table_name,
    a_partition_col,
    partition_interval
  );

  EXECUTE FORMAT(
    $QUERY$
    UPDATE %I.part_config
    SET
      retention = %L,
      retention_keep_table = false,
      retention_keep_index = false,
      infinite_time_partitions = true
    WHERE
      parent_table = %L;
    $QUERY$,
    pgmq._get_pg_partman_schema(),
    retention_interval,
    qualified_a_table_name
  );
END;
$_$;


CREATE FUNCTION pgmq."create"(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pgmq.create_non_partitioned(queue_name);
END;
$$;


CREATE FUNCTION pgmq.create_fifo_index(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pgmq._create_fifo_index_if_not_exists(queue_name);
END;
$$;


CREATE FUNCTION pgmq.create_fifo_indexes_all() RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    queue_record RECORD;
BEGIN
    FOR queue_record IN SELECT queue_name FROM pgmq.meta LOOP
        PERFORM pgmq.create_fifo_index(queue_record.queue_name);
    END LOOP;
END;
$$;


CREATE FUNCTION pgmq.create_non_partitioned(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  qtable TEXT := pgmq.format_table_name(queue_name, 'q');
  qtable_seq TEXT := qtable || '_msg_id_seq';
  atable TEXT := pgmq.format_table_name(queue_name, 'a');
BEGIN
  PERFORM pgmq.validate_queue_name(queue_name);
  PERFORM pgmq.acquire_queue_lock(queue_name);

  EXECUTE FORMAT(
    $QUERY$
    CREATE TABLE IF NOT EXISTS pgmq.%I (
        msg_id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        read_ct INT DEFAULT 0 NOT NULL,
        enqueued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_read_at TIMESTAMP WITH TIME ZONE,
        vt TIMESTAMP WITH TIME ZONE NOT NULL,
        message JSONB,
        headers JSONB
    )
    $QUERY$,
    qtable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE TABLE IF NOT EXISTS pgmq.%I (
      msg_id BIGINT PRIMARY KEY,
      read_ct INT DEFAULT 0 NOT NULL,
      enqueued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
      last_read_at TIMESTAMP WITH TIME ZONE,
      archived_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
      vt TIMESTAMP WITH TIME ZONE NOT NULL,
      message JSONB,
      headers JSONB
    );
    $QUERY$,
    atable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE INDEX IF NOT EXISTS %I ON pgmq.%I (vt ASC);
    $QUERY$,
    qtable || '_vt_idx', qtable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE INDEX IF NOT EXISTS %I ON pgmq.%I (archived_at);
    $QUERY$,
    'archived_at_idx_' || queue_name, atable
  );

  EXECUTE FORMAT(
    $QUERY$
    INSERT INTO pgmq.meta (queue_name, is_partitioned, is_unlogged)
    VALUES (%L, false, false)
    ON CONFLICT
    DO NOTHING;
    $QUERY$,
    queue_name
  );

END;
$_$;


CREATE FUNCTION pgmq.create_partitioned(queue_name text, partition_interval text DEFAULT '10000'::text, retention_interval text DEFAULT '100000'::text, premake integer DEFAULT 4) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  partition_col TEXT;
  a_partition_col TEXT;
  qtable TEXT := pgmq.format_table_name(queue_name, 'q');
  qtable_seq TEXT := qtable || '_msg_id_seq';
  atable TEXT := pgmq.format_table_name(queue_name, 'a');
  fq_qtable TEXT := 'pgmq.' || qtable;
  fq_atable TEXT := 'pgmq.' || atable;
BEGIN
  PERFORM pgmq.validate_queue_name(queue_name);
  PERFORM pgmq.acquire_queue_lock(queue_name);
  PERFORM pgmq._ensure_pg_partman_installed();
  IF premake < 1 THEN
    RAISE EXCEPTION 'premake must be at least 1, got %', premake;
  END IF;
  SELECT pgmq._get_partition_col(partition_interval) INTO partition_col;

  EXECUTE FORMAT(
    $QUERY$
    CREATE TABLE IF NOT EXISTS pgmq.%I (
        msg_id BIGINT GENERATED BY DEFAULT AS IDENTITY,
        read_ct INT DEFAULT 0 NOT NULL,
        enqueued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_read_at TIMESTAMP WITH TIME ZONE,
        vt TIMESTAMP WITH TIME ZONE NOT NULL,
        message JSONB,
        headers JSONB
    ) PARTITION BY RANGE (%I)
    $QUERY$,
    qtable, partition_col
  );

  -- https://github.com/pgpartman/pg_partman/blob/master/doc/pg_partman.md
  -- p_parent_table - the existing parent table. MUST be schema qualified, even if in public schema.
  EXECUTE FORMAT(
    $QUERY$
    SELECT %I.create_parent(
      p_parent_table := %L,
      p_control := %L,
      p_interval := %L,
      p_premake := %s,
      p_type := case
        when pgmq._get_pg_partman_major_version() = 5 then 'range'
        else 'native'
      end
    )
    $QUERY$,
    pgmq._get_pg_partman_schema(),
    fq_qtable,
    partition_col,
    partition_interval,
    premake
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE INDEX IF NOT EXISTS %I ON pgmq.%I (%I);
    $QUERY$,
    qtable || '_part_idx', qtable, partition_col
  );

  EXECUTE FORMAT(
    $QUERY$
    UPDATE %I.part_config
    SET
        retention = %L,
        retention_keep_table = false,
        retention_keep_index = true,
        automatic_maintenance = 'on'
    WHERE parent_table = %L;
    $QUERY$,
    pgmq._get_pg_partman_schema(),
    retention_interval,
    'pgmq.' || qtable
  );

  EXECUTE FORMAT(
    $QUERY$
    INSERT INTO pgmq.meta (queue_name, is_partitioned, is_unlogged)
    VALUES (%L, true, false)
    ON CONFLICT
    DO NOTHING;
    $QUERY$,
    queue_name
  );

  IF partition_col = 'enqueued_at' THEN
    a_partition_col := 'archived_at';
  ELSE
    a_partition_col := partition_col;
  END IF;

  EXECUTE FORMAT(
    $QUERY$
    CREATE TABLE IF NOT EXISTS pgmq.%I (
      msg_id BIGINT NOT NULL,
      read_ct INT DEFAULT 0 NOT NULL,
      enqueued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
      last_read_at TIMESTAMP WITH TIME ZONE,
      archived_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
      vt TIMESTAMP WITH TIME ZONE NOT NULL,
      message JSONB,
      headers JSONB
    ) PARTITION BY RANGE (%I);
    $QUERY$,
    atable, a_partition_col
  );

  -- https://github.com/pgpartman/pg_partman/blob/master/doc/pg_partman.md
  -- p_parent_table - the existing parent table. MUST be schema qualified, even if in public schema.
  EXECUTE FORMAT(
    $QUERY$
    SELECT %I.create_parent(
      p_parent_table := %L,
      p_control := %L,
      p_interval := %L,
      p_premake := %s,
      p_type := case
        when pgmq._get_pg_partman_major_version() = 5 then 'range'
        else 'native'
      end
    )
    $QUERY$,
    pgmq._get_pg_partman_schema(),
    fq_atable,
    a_partition_col,
    partition_interval,
    premake
  );

  EXECUTE FORMAT(
    $QUERY$
    UPDATE %I.part_config
    SET
        retention = %L,
        retention_keep_table = false,
        retention_keep_index = true,
        automatic_maintenance = 'on'
    WHERE parent_table = %L;
    $QUERY$,
    pgmq._get_pg_partman_schema(),
    retention_interval,
    'pgmq.' || atable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE INDEX IF NOT EXISTS %I ON pgmq.%I (archived_at);
    $QUERY$,
    'archived_at_idx_' || queue_name, atable
  );

END;
$_$;


CREATE FUNCTION pgmq.create_unlogged(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  qtable TEXT := pgmq.format_table_name(queue_name, 'q');
  qtable_seq TEXT := qtable || '_msg_id_seq';
  atable TEXT := pgmq.format_table_name(queue_name, 'a');
BEGIN
  PERFORM pgmq.validate_queue_name(queue_name);
  PERFORM pgmq.acquire_queue_lock(queue_name);

  EXECUTE FORMAT(
    $QUERY$
    CREATE UNLOGGED TABLE IF NOT EXISTS pgmq.%I (
        msg_id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        read_ct INT DEFAULT 0 NOT NULL,
        enqueued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_read_at TIMESTAMP WITH TIME ZONE,
        vt TIMESTAMP WITH TIME ZONE NOT NULL,
        message JSONB,
        headers JSONB
    )
    $QUERY$,
    qtable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE TABLE IF NOT EXISTS pgmq.%I (
      msg_id BIGINT PRIMARY KEY,
      read_ct INT DEFAULT 0 NOT NULL,
      enqueued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
      last_read_at TIMESTAMP WITH TIME ZONE,
      archived_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
      vt TIMESTAMP WITH TIME ZONE NOT NULL,
      message JSONB,
      headers JSONB
    );
    $QUERY$,
    atable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE INDEX IF NOT EXISTS %I ON pgmq.%I (vt ASC);
    $QUERY$,
    qtable || '_vt_idx', qtable
  );

  EXECUTE FORMAT(
    $QUERY$
    CREATE INDEX IF NOT EXISTS %I ON pgmq.%I (archived_at);
    $QUERY$,
    'archived_at_idx_' || queue_name, atable
  );

  EXECUTE FORMAT(
    $QUERY$
    INSERT INTO pgmq.meta (queue_name, is_partitioned, is_unlogged)
    VALUES (%L, false, true)
    ON CONFLICT
    DO NOTHING;
    $QUERY$,
    queue_name
  );
END;
$_$;


CREATE FUNCTION pgmq.delete(queue_name text, msg_ids bigint[]) RETURNS SETOF bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        DELETE FROM pgmq.%I
        WHERE msg_id = ANY($1)
        RETURNING msg_id
        $QUERY$,
        qtable
    );
    RETURN QUERY EXECUTE sql USING msg_ids;
END;
$_$;


CREATE FUNCTION pgmq.delete(queue_name text, msg_id bigint) RETURNS boolean
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    result BIGINT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        DELETE FROM pgmq.%I
        WHERE msg_id = $1
        RETURNING msg_id
        $QUERY$,
        qtable
    );
    EXECUTE sql USING msg_id INTO result;
    RETURN NOT (result IS NULL);
END;
$_$;


CREATE FUNCTION pgmq.detach_archive(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  atable TEXT := pgmq.format_table_name(queue_name, 'a');
BEGIN
  RAISE WARNING 'detach_archive(queue_name) is deprecated and is a no-op. It will be removed in PGMQ v2.0. Archive tables are no longer member objects.';
END
$$;


CREATE FUNCTION pgmq.disable_notify_insert(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  qtable TEXT := pgmq.format_table_name(queue_name, 'q');
  v_queue_name TEXT := queue_name;
BEGIN
  EXECUTE FORMAT(
    $QUERY$
    DROP TRIGGER IF EXISTS trigger_notify_queue_insert_listeners ON pgmq.%I;
    $QUERY$,
    qtable
  );

  DELETE FROM pgmq.notify_insert_throttle nit WHERE nit.queue_name = v_queue_name;
END;
$_$;


CREATE FUNCTION pgmq.drop_queue(queue_name text) RETURNS boolean
    LANGUAGE plpgsql
    AS $_$
DECLARE
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
    qtable_seq TEXT := qtable || '_msg_id_seq';
    fq_qtable TEXT := 'pgmq.' || qtable;
    atable TEXT := pgmq.format_table_name(queue_name, 'a');
    fq_atable TEXT := 'pgmq.' || atable;
    partitioned BOOLEAN;
BEGIN
    PERFORM pgmq.acquire_queue_lock(queue_name);
    EXECUTE FORMAT(
        $QUERY$
        SELECT is_partitioned FROM pgmq.meta WHERE queue_name = %L
        $QUERY$,
        queue_name
    ) INTO partitioned;

    -- check if the queue exists
    IF NOT EXISTS (
        SELECT 1
        FROM information_schema.tables
        WHERE table_name = qtable and table_schema = 'pgmq'
    ) THEN
        RAISE NOTICE 'pgmq queue `%` does not exist', queue_name;
        RETURN FALSE;
    END IF;

    EXECUTE FORMAT(
        $QUERY$
        DROP TABLE IF EXISTS pgmq.%I
        $QUERY$,
        qtable
    );

    EXECUTE FORMAT(
        $QUERY$
        DROP TABLE IF EXISTS pgmq.%I
        $QUERY$,
        atable
    );

     IF EXISTS (
          SELECT 1
          FROM information_schema.tables
          WHERE table_name = 'meta' and table_schema = 'pgmq'
     ) THEN
        EXECUTE FORMAT(
            $QUERY$
            DELETE FROM pgmq.meta WHERE queue_name = %L
            $QUERY$,
            queue_name
        );
     END IF;

     IF partitioned THEN
        EXECUTE FORMAT(
          $QUERY$
          DELETE FROM %I.part_config where parent_table in (%L, %L)
          $QUERY$,
          pgmq._get_pg_partman_schema(), fq_qtable, fq_atable
        );
     END IF;

    RETURN TRUE;
END;
$_$;


CREATE FUNCTION pgmq.drop_queue(queue_name text, partitioned boolean) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
    fq_qtable TEXT := 'pgmq.' || qtable;
    atable TEXT := pgmq.format_table_name(queue_name, 'a');
    fq_atable TEXT := 'pgmq.' || atable;
BEGIN
    RAISE WARNING 'drop_queue(queue_name, partitioned) is deprecated and will be removed in PGMQ v2.0. Use drop_queue(queue_name) instead';

    PERFORM pgmq.drop_queue(queue_name);

    RETURN TRUE;
END;
$$;


CREATE FUNCTION pgmq.enable_notify_insert(queue_name text, throttle_interval_ms integer DEFAULT 250) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  qtable TEXT := pgmq.format_table_name(queue_name, 'q');
  v_queue_name TEXT := queue_name;
  v_throttle_interval_ms INTEGER := throttle_interval_ms;
BEGIN
  -- Validate that throttle_interval_ms is non-negative
  IF v_throttle_interval_ms < 0 THEN
    RAISE EXCEPTION 'throttle_interval_ms must be non-negative';
  END IF;

  -- Validate that the queue table exists
  IF NOT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'pgmq' AND table_name = qtable) THEN
    RAISE EXCEPTION 'Queue "%" does not exist. Create it first using pgmq.create()', v_queue_name;
  END IF;

  PERFORM pgmq.disable_notify_insert(v_queue_name);

  INSERT INTO pgmq.notify_insert_throttle (queue_name, throttle_interval_ms)
  VALUES (v_queue_name, v_throttle_interval_ms)
  ON CONFLICT ON CONSTRAINT notify_insert_throttle_queue_name_key DO UPDATE
      SET throttle_interval_ms = EXCLUDED.throttle_interval_ms,
          last_notified_at = to_timestamp(0);

  EXECUTE FORMAT(
    $QUERY$
    CREATE CONSTRAINT TRIGGER trigger_notify_queue_insert_listeners
    AFTER INSERT ON pgmq.%I
    DEFERRABLE FOR EACH ROW
    EXECUTE PROCEDURE pgmq.notify_queue_listeners()
    $QUERY$,
    qtable
  );
END;
$_$;


CREATE FUNCTION pgmq.format_table_name(queue_name text, prefix text) RETURNS text
    LANGUAGE plpgsql
    AS $_$
BEGIN
    IF queue_name ~ '\$|;|--|'''
    THEN
        RAISE EXCEPTION 'queue name contains invalid characters: $, ;, --, or \''';
    END IF;
    RETURN lower(prefix || '_' || queue_name);
END;
$_$;


CREATE FUNCTION pgmq.list_notify_insert_throttles() RETURNS TABLE(queue_name text, throttle_interval_ms integer, last_notified_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
    SELECT queue_name, throttle_interval_ms, last_notified_at
    FROM pgmq.notify_insert_throttle
    ORDER BY queue_name;
$$;


CREATE FUNCTION pgmq.list_queues() RETURNS SETOF pgmq.queue_record
    LANGUAGE plpgsql
    AS $$
BEGIN
  RETURN QUERY SELECT * FROM pgmq.meta;
END
$$;


CREATE FUNCTION pgmq.list_topic_bindings() RETURNS TABLE(pattern text, queue_name text, bound_at timestamp with time zone, compiled_regex text)
    LANGUAGE sql STABLE
    AS $$
    SELECT pattern, queue_name, bound_at, compiled_regex
    FROM pgmq.topic_bindings
    ORDER BY bound_at DESC, pattern, queue_name;
$$;


CREATE FUNCTION pgmq.list_topic_bindings(queue_name text) RETURNS TABLE(pattern text, queue_name text, bound_at timestamp with time zone, compiled_regex text)
    LANGUAGE sql STABLE
    AS $$
    SELECT pattern, tb.queue_name, bound_at, compiled_regex
    FROM pgmq.topic_bindings tb
    WHERE tb.queue_name = list_topic_bindings.queue_name
    ORDER BY bound_at DESC, pattern;
$$;


CREATE FUNCTION pgmq.metrics(queue_name text) RETURNS pgmq.metrics_result
    LANGUAGE plpgsql
    AS $_$
DECLARE
    result_row pgmq.metrics_result;
    query TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
    q_default_partition TEXT := qtable || '_default';
    a_default_partition TEXT := pgmq.format_table_name(queue_name, 'a') || '_default';
    default_partition_length BIGINT;
BEGIN
    -- Only partitioned queues have default partitions. Messages in them have no
    -- partition of their own, which means pg_partman maintenance is failing for
    -- this queue; a non-zero value here is the signal to act on. The planner's
    -- estimate is used so that a large spill does not slow down every scrape.
    IF to_regclass(FORMAT('pgmq.%I', q_default_partition)) IS NOT NULL THEN
        SELECT COALESCE(SUM(GREATEST(c.reltuples, 0))::bigint, 0)
        INTO default_partition_length
        FROM pg_class c
        WHERE c.oid IN (
            to_regclass(FORMAT('pgmq.%I', q_default_partition)),
            to_regclass(FORMAT('pgmq.%I', a_default_partition))
        );
    END IF;

    query := FORMAT(
        $QUERY$
        WITH q_summary AS (
            SELECT
                count(*) as queue_length,
                count(CASE WHEN vt <= NOW() THEN 1 END) as queue_visible_length,
                EXTRACT(epoch FROM (NOW() - max(enqueued_at)))::int as newest_msg_age_sec,
                EXTRACT(epoch FROM (NOW() - min(enqueued_at)))::int as oldest_msg_age_sec,
                NOW() as scrape_time
            FROM pgmq.%I
        ),
        all_metrics AS (
            SELECT CASE
                WHEN is_called THEN last_value ELSE 0
                END as total_messages
            FROM pgmq.%I
        )
        SELECT
            %L as queue_name,
            q_summary.queue_length,
            q_summary.newest_msg_age_sec,
            q_summary.oldest_msg_age_sec,
            all_metrics.total_messages,
            q_summary.scrape_time,
            q_summary.queue_visible_length,
            %L::bigint as default_partition_length
        FROM q_summary, all_metrics
        $QUERY$,
        qtable, qtable || '_msg_id_seq', queue_name, default_partition_length
    );
    EXECUTE query INTO result_row;
    RETURN result_row;
END;
$_$;


CREATE FUNCTION pgmq.metrics_all() RETURNS SETOF pgmq.metrics_result
    LANGUAGE plpgsql
    AS $$
DECLARE
    row_name RECORD;
    result_row pgmq.metrics_result;
BEGIN
    FOR row_name IN SELECT queue_name FROM pgmq.meta LOOP
        result_row := pgmq.metrics(row_name.queue_name);
        RETURN NEXT result_row;
    END LOOP;
END;
$$;


CREATE FUNCTION pgmq.notify_queue_listeners() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
  queue_name_extracted TEXT; -- Queue name extracted from trigger table name
  updated_count        INTEGER; -- Number of rows updated (0 or 1)
BEGIN
  queue_name_extracted := substring(TG_TABLE_NAME from 3);

  UPDATE pgmq.notify_insert_throttle
  SET last_notified_at = clock_timestamp()
  WHERE queue_name = queue_name_extracted
    AND (
      throttle_interval_ms = 0 -- No throttling configured
          OR clock_timestamp() - last_notified_at >=
             (throttle_interval_ms * INTERVAL '1 millisecond') -- Throttle interval has elapsed
    );

  -- Check how many rows were updated (will be 0 or 1)
  GET DIAGNOSTICS updated_count = ROW_COUNT;

  IF updated_count > 0 THEN
    PERFORM PG_NOTIFY('pgmq.' || TG_TABLE_NAME || '.' || TG_OP, NULL);
  END IF;

RETURN NEW;
END;
$$;


CREATE FUNCTION pgmq.pop(queue_name text, qty integer DEFAULT 1) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    result pgmq.message_record;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH cte AS
            (
                SELECT msg_id
                FROM pgmq.%I
                WHERE vt <= clock_timestamp()
                ORDER BY msg_id ASC
                LIMIT $1
                FOR UPDATE SKIP LOCKED
            )
        DELETE from pgmq.%I
        WHERE msg_id IN (select msg_id from cte)
        RETURNING msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers;
        $QUERY$,
        qtable, qtable
    );
    RETURN QUERY EXECUTE sql USING qty;
END;
$_$;


CREATE FUNCTION pgmq.purge_queue(queue_name text) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
  deleted_count INTEGER;
  qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
  -- Get the row count before truncating
  EXECUTE format('SELECT count(*) FROM pgmq.%I', qtable) INTO deleted_count;

  -- Use TRUNCATE for better performance on large tables
  EXECUTE format('TRUNCATE TABLE pgmq.%I', qtable);

  -- Return the number of purged rows
  RETURN deleted_count;
END
$$;


CREATE FUNCTION pgmq.read(queue_name text, vt integer, qty integer, conditional jsonb DEFAULT '{}'::jsonb) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH cte AS
        (
            SELECT msg_id
            FROM pgmq.%I
            WHERE vt <= clock_timestamp() AND CASE
                WHEN %L != '{}'::jsonb THEN (message @> %2$L)::integer
                ELSE 1
            END = 1
            ORDER BY msg_id ASC
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        )
        UPDATE pgmq.%I m
        SET
            last_read_at = clock_timestamp(),
            vt = clock_timestamp() + %L,
            read_ct = read_ct + 1
        FROM cte
        WHERE m.msg_id = cte.msg_id
        RETURNING m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers;
        $QUERY$,
        qtable, conditional, qtable, make_interval(secs => vt)
    );
    RETURN QUERY EXECUTE sql USING qty;
END;
$_$;


CREATE FUNCTION pgmq.read_grouped(queue_name text, vt integer, qty integer) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH fifo_groups AS (
            -- Find the minimum msg_id for each FIFO group that's ready to be processed
            SELECT
                COALESCE(headers->>'x-pgmq-group', '_default_fifo_group') as fifo_key,
                MIN(msg_id) as min_msg_id
            FROM pgmq.%I
            WHERE vt <= clock_timestamp()
            GROUP BY COALESCE(headers->>'x-pgmq-group', '_default_fifo_group')
        ),
        locked_groups AS (
            -- Lock the first available message in each FIFO group
            SELECT
                m.msg_id,
                fg.fifo_key
            FROM pgmq.%I m
            INNER JOIN fifo_groups fg ON
                COALESCE(m.headers->>'x-pgmq-group', '_default_fifo_group') = fg.fifo_key
                AND m.msg_id = fg.min_msg_id
            WHERE m.vt <= clock_timestamp()
            ORDER BY m.msg_id ASC
            FOR UPDATE SKIP LOCKED
        ),
        group_priorities AS (
            -- Assign priority to groups based on their oldest message
            SELECT
                fifo_key,
                msg_id as min_msg_id,
                ROW_NUMBER() OVER (ORDER BY msg_id) as group_priority
            FROM locked_groups
        ),
        filtered_groups as (
            SELECT * FROM group_priorities gp
            WHERE NOT EXISTS (
                -- Ensure no earlier message in this group is currently being processed
                SELECT 1
                FROM pgmq.%I m2
                WHERE COALESCE(m2.headers->>'x-pgmq-group', '_default_fifo_group') = gp.fifo_key
                AND m2.vt > clock_timestamp()
                AND m2.msg_id < gp.min_msg_id
            )
        ),
        available_messages as (
            SELECT gp.fifo_key, t.msg_id,gp.group_priority,
                ROW_NUMBER() OVER (PARTITION BY gp.fifo_key ORDER BY t.msg_id) as msg_rank_in_group
            FROM filtered_groups gp
            CROSS JOIN LATERAL (
                SELECT *
                FROM pgmq.%I t
                WHERE COALESCE(t.headers->>'x-pgmq-group', '_default_fifo_group') = gp.fifo_key
                AND t.vt <= clock_timestamp()
                ORDER BY msg_id
                LIMIT $1  -- tip to limit query impact, we know we need at most qty in each group
            ) t
            ORDER BY gp.group_priority
        ),
        batch_selection AS (
            -- Select messages to fill batch, prioritizing earliest group
            SELECT
                msg_id,
                ROW_NUMBER() OVER (ORDER BY group_priority, msg_rank_in_group) as overall_rank
            FROM available_messages
        ),
        selected_messages AS (
            -- Limit to requested quantity
            SELECT msg_id
            FROM batch_selection
            WHERE overall_rank <= $1
            ORDER BY msg_id
            FOR UPDATE SKIP LOCKED
        )
        UPDATE pgmq.%I m
        SET
            vt = clock_timestamp() + %L,
            read_ct = read_ct + 1,
            last_read_at = clock_timestamp()
        FROM selected_messages sm
        WHERE m.msg_id = sm.msg_id
        RETURNING m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers;
        $QUERY$,
        qtable, qtable, qtable, qtable, qtable, make_interval(secs => vt)
    );
    RETURN QUERY EXECUTE sql USING qty;
END;
$_$;


CREATE FUNCTION pgmq.read_grouped_head(queue_name text, vt integer, qty integer) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH fifo_groups AS (
            -- Determine the absolute head (oldest) message id per FIFO group, regardless of visibility
            SELECT
                COALESCE(headers->>'x-pgmq-group', '_default_fifo_group') AS fifo_key,
                MIN(msg_id) AS head_msg_id
            FROM pgmq.%1$I
            GROUP BY COALESCE(headers->>'x-pgmq-group', '_default_fifo_group')
        ),
        selected_messages AS (
            -- Take at most 1 message per group
            SELECT g.head_msg_id msg_id
            FROM fifo_groups g
            JOIN pgmq.%1$I q ON q.msg_id = g.head_msg_id
	        WHERE q.vt <= clock_timestamp()
            ORDER BY q.msg_id
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        )
        UPDATE pgmq.%1$I m
        SET
            vt = clock_timestamp() + %2$L,
            read_ct = read_ct + 1,
            last_read_at = clock_timestamp()
        FROM selected_messages sm
        WHERE m.msg_id = sm.msg_id
        RETURNING m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers;
        $QUERY$,
        qtable, make_interval(secs => vt)
    );
    RETURN QUERY EXECUTE sql USING qty;
END;
$_$;


CREATE FUNCTION pgmq.read_grouped_head_with_poll(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $$
DECLARE
    r pgmq.message_record;
    stop_at TIMESTAMPTZ;
BEGIN
    stop_at := clock_timestamp() + make_interval(secs => max_poll_seconds);
    LOOP
      IF clock_timestamp() >= stop_at THEN
        RETURN;
      END IF;

      FOR r IN
        SELECT * FROM pgmq.read_grouped_head(queue_name, vt, qty)
      LOOP
        RETURN NEXT r;
      END LOOP;
      IF FOUND THEN
        RETURN;
      ELSE
        PERFORM pg_sleep(poll_interval_ms::numeric / 1000);
      END IF;
    END LOOP;
END;
$$;


CREATE FUNCTION pgmq.read_grouped_rr(queue_name text, vt integer, qty integer) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        WITH fifo_groups AS (
            -- Determine the absolute head (oldest) message id per FIFO group, regardless of visibility
            SELECT
                COALESCE(headers->>'x-pgmq-group', '_default_fifo_group') AS fifo_key,
                MIN(msg_id) AS head_msg_id
            FROM pgmq.%1$I
            GROUP BY COALESCE(headers->>'x-pgmq-group', '_default_fifo_group')
        ),
        eligible_groups AS (
            -- Only groups whose head message is currently visible
            -- Acquire a transaction-level advisory lock per group to prevent concurrent selection
            SELECT
                g.fifo_key,
                g.head_msg_id,
                ROW_NUMBER() OVER (ORDER BY g.head_msg_id) AS group_priority
            FROM fifo_groups g
            JOIN pgmq.%2$I h ON h.msg_id = g.head_msg_id
            WHERE h.vt <= clock_timestamp()
              AND pg_try_advisory_xact_lock(pg_catalog.hashtextextended(g.fifo_key, 0))
        ),
        available_messages AS (
            -- All currently visible messages starting at the head for each eligible group
            SELECT
                m.msg_id,
                eg.group_priority,
                ROW_NUMBER() OVER (
                    PARTITION BY eg.fifo_key
                    ORDER BY m.msg_id
                ) AS msg_rank_in_group
            FROM pgmq.%3$I m
            JOIN eligible_groups eg
              ON COALESCE(m.headers->>'x-pgmq-group', '_default_fifo_group') = eg.fifo_key
            WHERE m.vt <= clock_timestamp()
              AND m.msg_id >= eg.head_msg_id
        ),
        ordered_messages AS (
            -- Layered round-robin: take rank 1 of all groups by group_priority, then rank 2, etc.
            -- Assign selection order before locking
            SELECT msg_id, ROW_NUMBER() OVER (ORDER BY msg_rank_in_group, group_priority) as selection_order
            FROM available_messages
        ),
        selected_messages AS (
            -- Lock the messages in the correct order, preserving selection_order
            SELECT om.msg_id, om.selection_order
            FROM ordered_messages om
            JOIN pgmq.%4$I m ON m.msg_id = om.msg_id
            WHERE om.selection_order <= $1
            ORDER BY om.selection_order
            FOR UPDATE OF m SKIP LOCKED
        ),
        updated_messages AS (
            UPDATE pgmq.%5$I m
            SET
                vt = clock_timestamp() + %6$L,
                read_ct = read_ct + 1,
                last_read_at = clock_timestamp()
            FROM selected_messages sm
            WHERE m.msg_id = sm.msg_id
              AND m.vt <= clock_timestamp() -- final guard to avoid duplicate reads under races
            RETURNING m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers, sm.selection_order
        )
        SELECT msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers
        FROM updated_messages
        ORDER BY selection_order;
        $QUERY$,
        qtable, qtable, qtable, qtable, qtable, make_interval(secs => vt)
    );
    RETURN QUERY EXECUTE sql USING qty;
END;
$_$;


CREATE FUNCTION pgmq.read_grouped_rr_with_poll(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $$
DECLARE
    r pgmq.message_record;
    stop_at TIMESTAMP;
BEGIN
    stop_at := clock_timestamp() + make_interval(secs => max_poll_seconds);
    LOOP
      IF (SELECT clock_timestamp() >= stop_at) THEN
        RETURN;
      END IF;

      FOR r IN
        SELECT * FROM pgmq.read_grouped_rr(queue_name, vt, qty)
      LOOP
        RETURN NEXT r;
      END LOOP;
      IF FOUND THEN
        RETURN;
      ELSE
        PERFORM pg_sleep(poll_interval_ms::numeric / 1000);
      END IF;
    END LOOP;
END;
$$;


CREATE FUNCTION pgmq.read_grouped_with_poll(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $$
DECLARE
    r pgmq.message_record;
    stop_at TIMESTAMP;
BEGIN
    stop_at := clock_timestamp() + make_interval(secs => max_poll_seconds);
    LOOP
      IF (SELECT clock_timestamp() >= stop_at) THEN
        RETURN;
      END IF;

      FOR r IN
        SELECT * FROM pgmq.read_grouped(queue_name, vt, qty)
      LOOP
        RETURN NEXT r;
      END LOOP;
      IF FOUND THEN
        RETURN;
      ELSE
        PERFORM pg_sleep(poll_interval_ms::numeric / 1000);
      END IF;
    END LOOP;
END;
$$;


CREATE FUNCTION pgmq.read_with_poll(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5, poll_interval_ms integer DEFAULT 100, conditional jsonb DEFAULT '{}'::jsonb) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    r pgmq.message_record;
    stop_at TIMESTAMP;
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    stop_at := clock_timestamp() + make_interval(secs => max_poll_seconds);
    LOOP
      IF (SELECT clock_timestamp() >= stop_at) THEN
        RETURN;
      END IF;

      sql := FORMAT(
          $QUERY$
          WITH cte AS
          (
              SELECT msg_id
              FROM pgmq.%I
              WHERE vt <= clock_timestamp() AND CASE
                  WHEN %L != '{}'::jsonb THEN (message @> %2$L)::integer
                  ELSE 1
              END = 1
              ORDER BY msg_id ASC
              LIMIT $1
              FOR UPDATE SKIP LOCKED
          )
          UPDATE pgmq.%I m
          SET
              last_read_at = clock_timestamp(),
              vt = clock_timestamp() + %L,
              read_ct = read_ct + 1
          FROM cte
          WHERE m.msg_id = cte.msg_id
          RETURNING m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers;
          $QUERY$,
          qtable, conditional, qtable, make_interval(secs => vt)
      );

      FOR r IN
        EXECUTE sql USING qty
      LOOP
        RETURN NEXT r;
      END LOOP;
      IF FOUND THEN
        RETURN;
      ELSE
        PERFORM pg_sleep(poll_interval_ms::numeric / 1000);
      END IF;
    END LOOP;
END;
$_$;


CREATE FUNCTION pgmq.send(queue_name text, msg jsonb) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send(queue_name, msg, NULL, clock_timestamp());
$$;


CREATE FUNCTION pgmq.send(queue_name text, msg jsonb, delay integer) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send(queue_name, msg, NULL, clock_timestamp() + make_interval(secs => delay));
$$;


CREATE FUNCTION pgmq.send(queue_name text, msg jsonb, headers jsonb) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send(queue_name, msg, headers, clock_timestamp());
$$;


CREATE FUNCTION pgmq.send(queue_name text, msg jsonb, delay timestamp with time zone) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send(queue_name, msg, NULL, delay);
$$;


CREATE FUNCTION pgmq.send(queue_name text, msg jsonb, headers jsonb, delay integer) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send(queue_name, msg, headers, clock_timestamp() + make_interval(secs => delay));
$$;


CREATE FUNCTION pgmq.send(queue_name text, msg jsonb, headers jsonb, delay timestamp with time zone) RETURNS SETOF bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
            $QUERY$
        INSERT INTO pgmq.%I (vt, message, headers)
        VALUES ($2, $1, $3)
        RETURNING msg_id;
        $QUERY$,
            qtable
           );
    RETURN QUERY EXECUTE sql USING msg, delay, headers;
END;
$_$;


CREATE FUNCTION pgmq.send_batch(queue_name text, msgs jsonb[]) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch(queue_name, msgs, NULL, clock_timestamp());
$$;


CREATE FUNCTION pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[]) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch(queue_name, msgs, headers, clock_timestamp());
$$;


CREATE FUNCTION pgmq.send_batch(queue_name text, msgs jsonb[], delay integer) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch(queue_name, msgs, NULL, clock_timestamp() + make_interval(secs => delay));
$$;


CREATE FUNCTION pgmq.send_batch(queue_name text, msgs jsonb[], delay timestamp with time zone) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch(queue_name, msgs, NULL, delay);
$$;


CREATE FUNCTION pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay integer) RETURNS SETOF bigint
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch(queue_name, msgs, headers, clock_timestamp() + make_interval(secs => delay));
$$;


CREATE FUNCTION pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay timestamp with time zone) RETURNS SETOF bigint
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pgmq._validate_batch_params(msgs, headers);
    RETURN QUERY SELECT * FROM pgmq._send_batch(queue_name, msgs, headers, delay);
END;
$$;


CREATE FUNCTION pgmq.send_batch_topic(routing_key text, msgs jsonb[]) RETURNS TABLE(queue_name text, msg_id bigint)
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch_topic(routing_key, msgs, NULL, clock_timestamp());
$$;


CREATE FUNCTION pgmq.send_batch_topic(routing_key text, msgs jsonb[], headers jsonb[]) RETURNS TABLE(queue_name text, msg_id bigint)
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch_topic(routing_key, msgs, headers, clock_timestamp());
$$;


CREATE FUNCTION pgmq.send_batch_topic(routing_key text, msgs jsonb[], delay integer) RETURNS TABLE(queue_name text, msg_id bigint)
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch_topic(routing_key, msgs, NULL, clock_timestamp() + make_interval(secs => delay));
$$;


CREATE FUNCTION pgmq.send_batch_topic(routing_key text, msgs jsonb[], delay timestamp with time zone) RETURNS TABLE(queue_name text, msg_id bigint)
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch_topic(routing_key, msgs, NULL, delay);
$$;


CREATE FUNCTION pgmq.send_batch_topic(routing_key text, msgs jsonb[], headers jsonb[], delay integer) RETURNS TABLE(queue_name text, msg_id bigint)
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.send_batch_topic(routing_key, msgs, headers, clock_timestamp() + make_interval(secs => delay));
$$;


CREATE FUNCTION pgmq.send_batch_topic(routing_key text, msgs jsonb[], headers jsonb[], delay timestamp with time zone) RETURNS TABLE(queue_name text, msg_id bigint)
    LANGUAGE plpgsql
    AS $$
DECLARE
    b RECORD;
BEGIN
    PERFORM pgmq.validate_routing_key(routing_key);

    -- Validate batch parameters once (not per queue)
    PERFORM pgmq._validate_batch_params(msgs, headers);

    -- Filter matching patterns in SQL for better performance (uses index)
    -- Any failure will rollback the entire transaction
    FOR b IN
        SELECT DISTINCT tb.queue_name
        FROM pgmq.topic_bindings tb
        WHERE routing_key ~ tb.compiled_regex
        ORDER BY tb.queue_name -- Deterministic ordering, deduplicated by queue_name
        LOOP
            -- Use private _send_batch to avoid redundant validation
            RETURN QUERY
            SELECT b.queue_name, batch_result.msg_id
            FROM pgmq._send_batch(b.queue_name, msgs, headers, delay) AS batch_result(msg_id);
        END LOOP;

    RETURN;
END;
$$;


CREATE FUNCTION pgmq.send_topic(routing_key text, msg jsonb) RETURNS integer
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN pgmq.send_topic(routing_key, msg, NULL, 0);
END;
$$;


CREATE FUNCTION pgmq.send_topic(routing_key text, msg jsonb, delay integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN pgmq.send_topic(routing_key, msg, NULL, delay);
END;
$$;


CREATE FUNCTION pgmq.send_topic(routing_key text, msg jsonb, headers jsonb, delay integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    b             RECORD;
    matched_count integer := 0;
BEGIN
    PERFORM pgmq.validate_routing_key(routing_key);

    IF msg IS NULL THEN
        RAISE EXCEPTION 'msg cannot be NULL';
    END IF;

    IF delay < 0 THEN
        RAISE EXCEPTION 'delay cannot be negative, got: %', delay;
    END IF;

    -- Filter matching patterns in SQL for better performance (uses index)
    -- Any failure will rollback the entire transaction
    FOR b IN
        SELECT DISTINCT tb.queue_name
        FROM pgmq.topic_bindings tb
        WHERE routing_key ~ tb.compiled_regex
        ORDER BY tb.queue_name -- Deterministic ordering, deduplicated by queue_name
        LOOP
            PERFORM pgmq.send(b.queue_name, msg, headers, delay);
            matched_count := matched_count + 1;
        END LOOP;

    RETURN matched_count;
END;
$$;


CREATE FUNCTION pgmq.set_vt(queue_name text, msg_ids bigint[], vt integer) RETURNS SETOF pgmq.message_record
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.set_vt(queue_name, msg_ids, clock_timestamp() + make_interval(secs => vt));
$$;


CREATE FUNCTION pgmq.set_vt(queue_name text, msg_ids bigint[], vt timestamp with time zone) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        UPDATE pgmq.%I
        SET vt = $1
        WHERE msg_id = ANY($2)
        RETURNING msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers;
        $QUERY$,
        qtable
    );
    RETURN QUERY EXECUTE sql USING vt, msg_ids;
END;
$_$;


CREATE FUNCTION pgmq.set_vt(queue_name text, msg_id bigint, vt integer) RETURNS SETOF pgmq.message_record
    LANGUAGE sql
    AS $$
    SELECT * FROM pgmq.set_vt(queue_name, msg_id, clock_timestamp() + make_interval(secs => vt));
$$;


CREATE FUNCTION pgmq.set_vt(queue_name text, msg_id bigint, vt timestamp with time zone) RETURNS SETOF pgmq.message_record
    LANGUAGE plpgsql
    AS $_$
DECLARE
    sql TEXT;
    result pgmq.message_record;
    qtable TEXT := pgmq.format_table_name(queue_name, 'q');
BEGIN
    sql := FORMAT(
        $QUERY$
        UPDATE pgmq.%I
        SET vt = $1
        WHERE msg_id = $2
        RETURNING msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers;
        $QUERY$, 
        qtable
    );
    RETURN QUERY EXECUTE sql USING vt, msg_id;
END;
$_$;


CREATE FUNCTION pgmq.test_routing(routing_key text) RETURNS TABLE(pattern text, queue_name text, compiled_regex text)
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM pgmq.validate_routing_key(routing_key);
    RETURN QUERY
        SELECT b.pattern,
               b.queue_name,
               b.compiled_regex
        FROM pgmq.topic_bindings b
        WHERE routing_key ~ b.compiled_regex
        ORDER BY b.pattern;
END;
$$;


CREATE FUNCTION pgmq.unbind_topic(pattern text, queue_name text) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    rows_deleted integer;
BEGIN
    IF pattern IS NULL OR pattern = '' THEN
        RAISE EXCEPTION 'pattern cannot be NULL or empty';
    END IF;

    IF queue_name IS NULL OR queue_name = '' THEN
        RAISE EXCEPTION 'queue_name cannot be NULL or empty';
    END IF;

    DELETE
    FROM pgmq.topic_bindings
    WHERE topic_bindings.pattern = unbind_topic.pattern
      AND topic_bindings.queue_name = unbind_topic.queue_name;

    GET DIAGNOSTICS rows_deleted = ROW_COUNT;

    IF rows_deleted > 0 THEN
        RETURN true;
    ELSE
        RETURN false;
    END IF;
END;
$$;


CREATE FUNCTION pgmq.update_notify_insert(queue_name text, throttle_interval_ms integer) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF throttle_interval_ms < 0 THEN
        RAISE EXCEPTION 'throttle_interval_ms must be non-negative, got: %', throttle_interval_ms;
    END IF;

    IF NOT EXISTS (SELECT 1 FROM pgmq.meta WHERE meta.queue_name = update_notify_insert.queue_name) THEN
        RAISE EXCEPTION 'Queue "%" does not exist. Create the queue first using pgmq.create()', queue_name;
    END IF;

    IF NOT EXISTS (SELECT 1 FROM pgmq.notify_insert_throttle WHERE notify_insert_throttle.queue_name = update_notify_insert.queue_name) THEN
        RAISE EXCEPTION 'Queue "%" does not have notify_insert enabled. Enable it first using pgmq.enable_notify_insert()', queue_name;
    END IF;

    UPDATE pgmq.notify_insert_throttle
    SET throttle_interval_ms = update_notify_insert.throttle_interval_ms,
        last_notified_at = to_timestamp(0)
    WHERE notify_insert_throttle.queue_name = update_notify_insert.queue_name;
END;
$$;


CREATE FUNCTION pgmq.validate_queue_name(queue_name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
  IF length(queue_name) > 47 THEN
    -- complete table identifier must be <= 63
    -- https://www.postgresql.org/docs/17/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
    -- e.g. template_pgmq_q_my_queue is an identifier for my_queue when partitioned
    -- template_pgmq_q_ (16) + <a max length queue name> (47) = 63 
    RAISE EXCEPTION 'queue name is too long, maximum length is 47 characters';
  END IF;
END;
$$;


CREATE FUNCTION pgmq.validate_routing_key(routing_key text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
BEGIN
    -- Valid routing key examples:
    --   "logs.error"
    --   "app.user-service.auth"
    --   "system_events.db.connection_failed"
    --
    -- Invalid routing key examples:
    --   ""                     - empty
    --   ".logs.error"          - starts with dot
    --   "logs.error."          - ends with dot
    --   "logs..error"          - consecutive dots
    --   "logs.error!"          - invalid character
    --   "logs error"           - space not allowed
    --   "logs.*"               - wildcards not allowed in routing keys

    IF routing_key IS NULL OR routing_key = '' THEN
        RAISE EXCEPTION 'routing_key cannot be NULL or empty';
    END IF;

    IF length(routing_key) > 255 THEN
        RAISE EXCEPTION 'routing_key length cannot exceed 255 characters, got % characters', length(routing_key);
    END IF;

    IF routing_key !~ '^[a-zA-Z0-9._-]+$' THEN
        RAISE EXCEPTION 'routing_key contains invalid characters. Only alphanumeric, dots, hyphens, and underscores are allowed. Got: %', routing_key;
    END IF;

    IF routing_key ~ '^\.' THEN
        RAISE EXCEPTION 'routing_key cannot start with a dot. Got: %', routing_key;
    END IF;

    IF routing_key ~ '\.$' THEN
        RAISE EXCEPTION 'routing_key cannot end with a dot. Got: %', routing_key;
    END IF;

    IF routing_key ~ '\.\.' THEN
        RAISE EXCEPTION 'routing_key cannot contain consecutive dots. Got: %', routing_key;
    END IF;

    RETURN true;
END;
$_$;


CREATE FUNCTION pgmq.validate_topic_pattern(pattern text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
BEGIN
    -- Valid pattern examples:
    --   "logs.*"           - matches one segment after logs. (e.g., logs.error, logs.info)
    --   "logs.#"           - matches one or more segments after logs. (e.g., logs.error, logs.api.error)
    --   "*.error"          - matches one segment before .error (e.g., app.error, db.error)
    --   "#.error"          - matches one or more segments before .error (e.g., app.error, x.y.error)
    --   "app.*.#"          - mixed wildcards (one segment then one or more)
    --   "#"                - catch-all pattern, matches any routing key
    --
    -- Invalid pattern examples:
    --   ".logs.*"          - starts with dot
    --   "logs.*."          - ends with dot
    --   "logs..error"      - consecutive dots
    --   "logs.**"          - consecutive stars
    --   "logs.##"          - consecutive hashes
    --   "logs.*#"          - adjacent wildcards
    --   "logs.error!"      - invalid character

    IF pattern IS NULL OR pattern = '' THEN
        RAISE EXCEPTION 'pattern cannot be NULL or empty';
    END IF;

    IF length(pattern) > 255 THEN
        RAISE EXCEPTION 'pattern length cannot exceed 255 characters, got % characters', length(pattern);
    END IF;

    IF pattern !~ '^[a-zA-Z0-9._\-*#]+$' THEN
        RAISE EXCEPTION 'pattern contains invalid characters. Only alphanumeric, dots, hyphens, underscores, *, and # are allowed. Got: %', pattern;
    END IF;

    IF pattern ~ '^\.' THEN
        RAISE EXCEPTION 'pattern cannot start with a dot. Got: %', pattern;
    END IF;

    IF pattern ~ '\.$' THEN
        RAISE EXCEPTION 'pattern cannot end with a dot. Got: %', pattern;
    END IF;

    IF pattern ~ '\.\.' THEN
        RAISE EXCEPTION 'pattern cannot contain consecutive dots. Got: %', pattern;
    END IF;

    IF pattern ~ '\*\*' THEN
        RAISE EXCEPTION 'pattern cannot contain consecutive stars (**). Use # for multi-segment matching. Got: %', pattern;
    END IF;

    IF pattern ~ '##' THEN
        RAISE EXCEPTION 'pattern cannot contain consecutive hashes (##). A single # already matches zero or more segments. Got: %', pattern;
    END IF;

    IF pattern ~ '\*#' OR pattern ~ '#\*' THEN
        RAISE EXCEPTION 'pattern cannot contain adjacent wildcards (*# or #*). Separate wildcards with dots. Got: %', pattern;
    END IF;

    RETURN true;
END;
$_$;


CREATE TABLE pgflow.deps (
    flow_slug text NOT NULL,
    dep_slug text NOT NULL,
    step_slug text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT deps_check CHECK ((dep_slug <> step_slug))
);


CREATE TABLE pgflow.step_states (
    flow_slug text NOT NULL,
    run_id uuid NOT NULL,
    step_slug text NOT NULL,
    status text DEFAULT 'created'::text NOT NULL,
    remaining_tasks integer,
    initial_tasks integer,
    remaining_deps integer DEFAULT 0 NOT NULL,
    output jsonb,
    error_message text,
    skip_reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    skipped_at timestamp with time zone,
    CONSTRAINT completed_at_is_after_started_at CHECK ((completed_at >= started_at)),
    CONSTRAINT completed_at_or_failed_at_or_skipped_at CHECK ((num_nonnulls(completed_at, failed_at, skipped_at) <= 1)),
    CONSTRAINT failed_at_is_after_started_at CHECK ((failed_at >= started_at)),
    CONSTRAINT initial_tasks_known_when_started CHECK (((status <> 'started'::text) OR (initial_tasks IS NOT NULL))),
    CONSTRAINT output_only_for_completed_or_null CHECK (((output IS NULL) OR (status = 'completed'::text))),
    CONSTRAINT remaining_tasks_state_consistency CHECK (((remaining_tasks IS NULL) OR (status <> ALL (ARRAY['created'::text, 'skipped'::text])))),
    CONSTRAINT skip_reason_matches_status CHECK (((status = 'skipped'::text) = (skip_reason IS NOT NULL))),
    CONSTRAINT skipped_at_is_after_created_at CHECK ((skipped_at >= created_at)),
    CONSTRAINT started_at_is_after_created_at CHECK ((started_at >= created_at)),
    CONSTRAINT status_and_remaining_tasks_match CHECK (((status <> 'completed'::text) OR (remaining_tasks = 0))),
    CONSTRAINT status_is_valid CHECK ((status = ANY (ARRAY['created'::text, 'started'::text, 'completed'::text, 'failed'::text, 'skipped'::text]))),
    CONSTRAINT step_states_initial_tasks_check CHECK ((initial_tasks >= 0)),
    CONSTRAINT step_states_remaining_deps_check CHECK ((remaining_deps >= 0))
)
WITH (fillfactor='50');


CREATE VIEW pgflow._step_inputs AS
 SELECT ss.run_id,
    ss.step_slug,
    COALESCE(( SELECT jsonb_object_agg(d.dep_slug, COALESCE(up.output, 'null'::jsonb)) AS jsonb_object_agg
           FROM (pgflow.deps d
             CROSS JOIN LATERAL ( SELECT x.output
                   FROM pgflow.step_states x
                  WHERE ((x.run_id = ss.run_id) AND (x.step_slug = d.dep_slug) AND (x.status = 'completed'::text))
                 OFFSET 0) up)
          WHERE ((d.flow_slug = ss.flow_slug) AND (d.step_slug = ss.step_slug))), '{}'::jsonb) AS input
   FROM pgflow.step_states ss;


CREATE VIEW pgflow._task_options AS
 SELECT s.flow_slug,
    s.step_slug,
    GREATEST(COALESCE(s.opt_max_attempts, f.opt_max_attempts), 1) AS max_attempts,
    COALESCE(s.opt_base_delay, f.opt_base_delay) AS base_delay,
    COALESCE(s.opt_timeout, f.opt_timeout) AS timeout
   FROM (pgflow.steps s
     JOIN pgflow.flows f ON ((f.flow_slug = s.flow_slug)));


CREATE TABLE pgflow.workers (
    worker_id uuid NOT NULL,
    queue_name text NOT NULL,
    function_name text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    deprecated_at timestamp with time zone,
    stopped_at timestamp with time zone,
    last_heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    lease integer
);


CREATE VIEW pgflow._worker_holds AS
 SELECT t.run_id,
    t.step_slug,
    t.task_index,
    COALESCE(t.leased_until, (t.started_at + make_interval(secs => ((o.timeout + 30))::double precision))) AS at,
    (((t.started_at + make_interval(secs => ((o.timeout + 2))::double precision)) < clock_timestamp()) OR (NOT (EXISTS ( SELECT
           FROM pgflow.workers w
          WHERE ((w.worker_id = t.last_worker_id) AND (w.stopped_at IS NULL) AND (w.last_heartbeat_at >= (clock_timestamp() - make_interval(secs => (((w.lease)::numeric / 2.0))::double precision)))))))) AS is_stall
   FROM (pgflow.step_tasks t
     JOIN pgflow._task_options o ON (((o.flow_slug = t.flow_slug) AND (o.step_slug = t.step_slug))))
  WHERE (t.status = 'started'::text);


CREATE TABLE pgflow.outage (
    only_row boolean DEFAULT true NOT NULL,
    grace_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT outage_only_row_check CHECK (only_row)
);


CREATE TABLE pgflow.schema_functions (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


CREATE TABLE pgflow.schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


CREATE TABLE pgflow.worker_functions (
    function_name text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    debounce interval DEFAULT '00:00:06'::interval NOT NULL,
    last_invoked_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT worker_functions_debounce_check CHECK ((debounce >= '00:00:01'::interval))
);


CREATE TABLE pgmq.a_orders (
    msg_id bigint NOT NULL,
    read_ct integer DEFAULT 0 NOT NULL,
    enqueued_at timestamp with time zone DEFAULT now() NOT NULL,
    last_read_at timestamp with time zone,
    archived_at timestamp with time zone DEFAULT now() NOT NULL,
    vt timestamp with time zone NOT NULL,
    message jsonb,
    headers jsonb
);


CREATE TABLE pgmq.meta (
    queue_name character varying NOT NULL,
    is_partitioned boolean NOT NULL,
    is_unlogged boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


CREATE UNLOGGED TABLE pgmq.notify_insert_throttle (
    queue_name character varying NOT NULL,
    throttle_interval_ms integer DEFAULT 0 NOT NULL,
    last_notified_at timestamp with time zone DEFAULT to_timestamp((0)::double precision) NOT NULL
);


CREATE TABLE pgmq.q_orders (
    msg_id bigint NOT NULL,
    read_ct integer DEFAULT 0 NOT NULL,
    enqueued_at timestamp with time zone DEFAULT now() NOT NULL,
    last_read_at timestamp with time zone,
    vt timestamp with time zone NOT NULL,
    message jsonb,
    headers jsonb
);


ALTER TABLE pgmq.q_orders ALTER COLUMN msg_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pgmq.q_orders_msg_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


CREATE TABLE pgmq.topic_bindings (
    pattern text NOT NULL,
    queue_name text NOT NULL,
    bound_at timestamp with time zone DEFAULT now() NOT NULL,
    compiled_regex text GENERATED ALWAYS AS ((('^'::text || replace(replace(regexp_replace(pattern, '([.+?{}()|\[\]\\^$])'::text, '\\\1'::text, 'g'::text), '*'::text, '[^.]+'::text), '#'::text, '.*'::text)) || '$'::text)) STORED
);


INSERT INTO pgflow.deps VALUES
	('orders', 'items', 'price', '2026-11-25 22:53:00.290409+00'),
	('orders', 'price', 'total', '2026-11-25 22:53:00.290409+00'),
	('orders', 'wrap', 'total', '2026-11-25 22:53:00.290409+00');


INSERT INTO pgflow.flows VALUES
	('orders', 3, 1, 60, '2026-11-25 22:53:00.290409+00', '2026-11-25 22:53:01.350677+00', NULL);


INSERT INTO pgflow.outage VALUES
	(true, '-infinity');


INSERT INTO pgflow.runs VALUES
	('0221d04c-de18-5ac9-8bd6-101e763c8ea7', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:00.479756+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'orders', 'completed', '{"gift": true, "size": 4}', '{"total": "60, in paper"}', 0, '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:01.159175+00', NULL, NULL, NULL, NULL, NULL, NULL),
	('d1d5bc92-db90-5163-87ff-62bf4d021e4f', 'orders', 'failed', '{"gift": false, "size": 4}', NULL, 2, '2026-11-25 22:53:01.191812+00', NULL, '2026-11-25 22:53:01.287888+00', 'no such item', NULL, NULL, NULL, NULL),
	('a162bc5a-1b17-5926-b6ad-502a207a14ec', 'orders', 'failed', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.318087+00', NULL, '2026-11-25 22:53:01.35648+00', 'Cancelled: changed their mind', '2026-11-25 22:53:01.35648+00', NULL, NULL, NULL),
	('15bcb861-3be2-5d74-b1b1-aebc78713afc', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.369691+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('92f063f7-1a65-5f25-b866-154f6f16f821', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.432987+00', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-26 22:53:01.429354+00'),
	('e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.474574+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('939d7484-4ea6-546e-b1fe-e7344521bad8', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.547221+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('a598d7b1-c230-5659-adaa-23b584dd31d9', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.590666+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('743f898f-89ed-5669-8a11-c60b6094f3b0', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 2, '2026-11-25 22:53:01.653521+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('10c56c9b-0ebd-5985-b570-418ee8add47a', 'orders', 'started', '{"gift": false, "size": 4}', NULL, 3, '2026-11-25 22:53:01.756073+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL);


INSERT INTO pgflow.schema_functions VALUES
	('_advance', 'db744063f92a8fe10a873b6f057b9dced41ad469cbfd8a8a6b23ee79a1140885', '2026-11-25 22:52:59.584022+00'),
	('_archive_messages', '1f36f3b4228118261566134076b3fd575c94f63c419a2998f3045297de129fdf', '2026-11-25 22:52:59.584022+00'),
	('_archive_open_tasks', '57c502da285e26c6aa4f259f09de2be3565a69a9ecb73d6b5bfa47be6944fb62', '2026-11-25 22:52:59.584022+00'),
	('_archive_task_message', '5dade37e27252645dd8352eb46cb63efb45fd3e05612a8f108869e75aec86148', '2026-11-25 22:52:59.584022+00'),
	('_cascade_force_skip_steps', 'c9766d2eb7a925e57eb6bb66b374ebb16b0051f25ba8da34d86518c2804b1e65', '2026-11-25 22:52:59.584022+00'),
	('_claim_tasks', '5dbced28fbb4f638438b292092abbb587f31a5a884952bfa186ac0510d3608fb', '2026-11-25 22:52:59.584022+00'),
	('_compare_flow_shapes', '0293c7a73d86eca0e4367a6eb5f35f0ecc5d581576af1da7212e8abfafeef705', '2026-11-25 22:52:59.584022+00'),
	('_complete_runs', 'd939128910086b59fa2ea3852c2df31274eee531111286e84b033b339b09d229', '2026-11-25 22:52:59.584022+00'),
	('_complete_taskless_steps', '25cfbb73e4ea2bfb2cbafa44430889ef31401b469d001ce8f7d2f67d9bbced6d', '2026-11-25 22:52:59.584022+00'),
	('_complete_tasks', '5e909e88d547509c116775ba1a1c610d03b337154571159bfc633eae8bdca836', '2026-11-25 22:52:59.584022+00'),
	('_count_down_steps', '14d1d5af39b0c72fe941d0e6b06b410830d08375a2b4ba28e9e7565465167397', '2026-11-25 22:52:59.584022+00'),
	('_count_down_tasks', 'ddcb0fe53344d5db6a45fbab9de938ac338e90425fbc668207df3c971e121903', '2026-11-25 22:52:59.584022+00'),
	('_create_flow_from_shape', '80b02c562ef3e4a70e973a48556dfe80a24158e5fa5d57ce8017d9c14d145adb', '2026-11-25 22:52:59.584022+00'),
	('_emit_runs', '13b0e0a6dc48a072b72fb3ab7a1464dca0791a25a919e4fefc8eba607c8cf9e2', '2026-11-25 22:52:59.584022+00'),
	('_emit_steps', '18b597cf2b1d8cabda77b93a5d50553804f145af12756de534d2ddf1f7b9150f', '2026-11-25 22:52:59.584022+00'),
	('_events_wanted', '105ee4bed2fc2bb4a2624dde8eb571141884f191114fe25051b455d11e7fd66a', '2026-11-25 22:52:59.584022+00'),
	('_exhaust_task', '10dd57d60b292323db90846862f675d0976cbe2972d138eedd5b78c7dfd2c37e', '2026-11-25 22:52:59.584022+00'),
	('_fail_run', 'a4631015cb9ffe9639262d0bbaf991485f49551059099a80590bdceb534c554a', '2026-11-25 22:52:59.584022+00'),
	('_fail_step_and_run', 'a01cddbbbe18e8ddafc8b57f9afd2f509a758b29f3c47256f38febaaf2b81059', '2026-11-25 22:52:59.584022+00'),
	('_first_visible', '959b3f0fbe191bdda030bf413b60d249cdb7a5feca2fbb4a522e5c76c67388cf', '2026-11-25 22:52:59.584022+00'),
	('_get_flow_shape', 'bd5082831fe6e94fcd7cb2ac77d6bf182774222e041592f8e5952078dfa17845', '2026-11-25 22:52:59.584022+00'),
	('_hold_run', '7eeb220f6af7676d9a705fafcfbcb040a38c352e4667c476b3abb7e80f9d217c', '2026-11-25 22:52:59.584022+00'),
	('_hold_task', 'cb17e0f6c661233f3d2f2e97f40239b0afee4478232c79894398fedc6f882a66', '2026-11-25 22:52:59.584022+00'),
	('_is_open', '0f8fb98928a1bb2b6c2f0fa726d9e8e0e4641bcd7882a8213711bb733bf86cd1', '2026-11-25 22:52:59.584022+00'),
	('_judge_outcomes', '75a55cd67578932f0a0e7523df6a36aa6587acd25d2fb1fd9a3cc3f0edd348f4', '2026-11-25 22:52:59.584022+00'),
	('_judge_steps', 'e3e109cf1cc9efd8fe767874a5a657398cfd68a9e0c0c8800d84e516d535c0e9', '2026-11-25 22:52:59.584022+00'),
	('_lock_messages', 'c3a78640748da4fd2c786ded523dafa687739fd7c1b67e3e5e2c034f67da561b', '2026-11-25 22:52:59.584022+00'),
	('_lock_open_messages', 'f69951e814efd63c8b5fc3a7c93e8e0e44d4ea640fabade7ac559349d26cdaca', '2026-11-25 22:52:59.584022+00'),
	('_look_through', '6c53266df47d45f63e550a102d658e8ae60451a9f2d8f19bbe4ccc70d5bc383a', '2026-11-25 22:52:59.584022+00'),
	('_map_element', 'f6490290371bc65fbf1cfcb3cc07fce8a2afd219e2d214796757cd00a29b4cc2', '2026-11-25 22:52:59.584022+00'),
	('_met_steps', '02daec9e30f8f32c7ff06c2f93fd79111afced00265a6cc2fbee235ac3804899', '2026-11-25 22:52:59.584022+00'),
	('_next_visible', '647e814642f8df029596a5fc62697fbe975507260b4e7585ad3378cb0911c33b', '2026-11-25 22:52:59.584022+00'),
	('_no_array', '47a619ed9f7eb6f33bb0ce97e6c696b9a0c910b5cebecb4be2bbfb28c7c2e047', '2026-11-25 22:52:59.584022+00'),
	('_note_outage', 'dc045784150bf404ca08e0f193b965da12e168ee6293901db9db4b735d880bd7', '2026-11-25 22:52:59.584022+00'),
	('_notify_ended', '5d1e177abe462001dd9ae9676107b5437ca78d73e9c69d6b7de138124e18e446', '2026-11-25 22:52:59.584022+00'),
	('_put_back', '01cec37c572cddac054087777f695e7d120ae41167ced4ccd67595c450b40c86', '2026-11-25 22:52:59.584022+00'),
	('_queue_anew', '9a46359d2cf0b21177eef875586e8e0a4ffcd080d5183f0176a55f9886ff90fb', '2026-11-25 22:52:59.584022+00'),
	('_queue_table', '7070cf2658a65286ba61c77a604f572f73b77041ad82cc51ccd0e481b87dc3ad', '2026-11-25 22:52:59.584022+00'),
	('_ready_steps', '6d5a9175ad3773118621fc6787dd6dbdeea836491fe53fc29a0997abd619a94a', '2026-11-25 22:52:59.584022+00'),
	('_release_dependents', 'ccde9bc3812e2fb82975a8d5026c9ebc6471dea81da4b5bab322613b0dbee189', '2026-11-25 22:52:59.584022+00'),
	('_reopen_steps', '3fddd83fc891ae245f4fffbd1239963169550ad775152b2641ae7caf9239182a', '2026-11-25 22:52:59.584022+00'),
	('_send_lost_messages', 'b25b43a2580fd1a2f16b948d721709792ba82237ad1284076639602f753d8b76', '2026-11-25 22:52:59.584022+00'),
	('_send_tasks', 'ca85f6486310765e48f950ea6e46d859569c81f8ebbced70cc7b5e9fab71ab3f', '2026-11-25 22:52:59.584022+00'),
	('_set_visible', 'e19cf1d831d4342a3a0eb38d90213030517f66dfd2bd1104655cc71e851c9af1', '2026-11-25 22:52:59.584022+00'),
	('_show_again', '9dee1ef5c087033b56792217d2bec5fbd225a3dbb9cb2a07eb6f0775a2634cac', '2026-11-25 22:52:59.584022+00'),
	('_skip_downstream', '5487062aab966a5bd7e99ada01d1b9be9f814418a5f9b50a058f50c7ff8ad79f', '2026-11-25 22:52:59.584022+00'),
	('_skip_steps', '2401c008fe0ed92b0da1056716d92bf9ae46aa85e2fa79e7c11a3df5a228cbe9', '2026-11-25 22:52:59.584022+00'),
	('_sort_out_messages', '13d7496d63b4b349e6f0569ccc38f73b8c63de7a09dd070ccb05aa586236e530', '2026-11-25 22:52:59.584022+00'),
	('_start_runs', '26614e87a830abeb5a61ab04f536c81a2814542be7dc57480e67d456d2a92c0a', '2026-11-25 22:52:59.584022+00'),
	('_start_steps', '5e8b7a3a5c7d2e42c05f6b0992821a9714b3f3e8dc27b5a1add356e0a066caca', '2026-11-25 22:52:59.584022+00'),
	('_starved_map', 'daaff5abb940e6ccf148983345fd8ad9899c647b1d9b3da567c808d7a1ee30f5', '2026-11-25 22:52:59.584022+00'),
	('_step_inputs', '32b989463fa176b876325fa10da9d1a9d4cd78c0dae62e656a21b2c5d5a63826', '2026-11-25 22:52:59.584022+00'),
	('_steps_from', 'b70aa8bf1b113e565d8fa3db7d19265145ae6252a9a247641c368fa06a709d9f', '2026-11-25 22:52:59.584022+00'),
	('_take_messages', 'b9c1d69c29d6f7e74c3d5ba03859d8645c02c496f26edde97286f7bfebcfdd2d', '2026-11-25 22:52:59.584022+00'),
	('_take_over_steps', '7b5a7790367f7e1b288ceadc2254bae11833368d42f63e6c48b88bc645aae255', '2026-11-25 22:52:59.584022+00'),
	('_takes_array', '0a9cf52b4dafc644f9f48b7af7222f57871636376dde996f335a15ba786afc55', '2026-11-25 22:52:59.584022+00'),
	('_task_key', 'a31f152b4b4937cc0a08c8ea4fb2380045f72e14c838d9b0d32f168fd8f1e3ca', '2026-11-25 22:52:59.584022+00'),
	('_task_keys', '31279542c1353347421a3408e59faad952cfe454beed468ad3fdce37cf760f7c', '2026-11-25 22:52:59.584022+00'),
	('_task_options', '7c2e30ca6f8aaa33f1c4982723ad2b731a62d22ae8ddb5ff4a436e97c93f127a', '2026-11-25 22:52:59.584022+00'),
	('_unmet_steps', 'c7e533da8cce20617b52e6ff182ebf21b4cee4d26a2c6174830253f9d2ac64b8', '2026-11-25 22:52:59.584022+00'),
	('_violate_type', '297e1c493e4685118c0660603b4e9252d6681085e0f5048e88f9553b1cf4125e', '2026-11-25 22:52:59.584022+00'),
	('_wake_workers', '807d2820eadd89e9a4273ae4c567799a9c56d72cd2e29d9cf621a6d1db08cf0d', '2026-11-25 22:52:59.584022+00'),
	('_why_no_retry', 'caa5664d026a77b7556bc551a8bb8f50fc221a6b401061be58ded68afee110f5', '2026-11-25 22:52:59.584022+00'),
	('_worker_holds', 'b10c6e2af9aafe1588ab4e1034cd6e87e827c09b4d754cb40531005cd11fcc88', '2026-11-25 22:52:59.584022+00'),
	('add_step', '52ac401832e506ed88d5fff72bd25dc2d7e59fa4f5690727f3e62553e3179c34', '2026-11-25 22:52:59.584022+00'),
	('calculate_retry_delay', '7d68dfecd523345a9d964922f0046e467f865548ed9ae9bfe885e0d9bbec0e08', '2026-11-25 22:52:59.584022+00'),
	('cancel_run', '0e47cc05b71d2acdecdcf917fbc2a10b956d1df000a37d54e0210076230a85ef', '2026-11-25 22:52:59.584022+00'),
	('cascade_complete_taskless_steps', '43f650452e46affce264d2453c7f9ac06b3c77817915d7030ee8fdf2a7162ad0', '2026-11-25 22:52:59.584022+00'),
	('cascade_resolve_conditions', '43cdc94df8449d813726a59ec7d0abef62a35a34bdbdaf1897e073cbe25e0825', '2026-11-25 22:52:59.584022+00'),
	('complete_task', 'fb9f76c4af766bbbe2f3ea51a6ba78b1d06c9221e8758347219c6374fc0b95c3', '2026-11-25 22:52:59.584022+00'),
	('create_flow', '291874c59550abb64f5eed6a960cce9b1fadd8fab2f39633ad84679ea5ae3cdf', '2026-11-25 22:52:59.584022+00'),
	('delete_flow_and_data', 'c8d35935e22f069cf41b0f6b527813b59d98ef0236875e6ee27d3f9cdd8da991', '2026-11-25 22:52:59.584022+00'),
	('ensure_flow_compiled', '586e181cf53f07b6a2d5138c7deb151c420d4af6fd70426da9d74b471997fe84', '2026-11-25 22:52:59.584022+00'),
	('extend_leases', '17caa1a6af1350adcd173d047d891951d502447a0c74920671cd98404cc1edb7', '2026-11-25 22:52:59.584022+00'),
	('fail_stalled_tasks', '2ca2d4c4ed815c1f7049bb41cc091a33c38de4c69ea5937dd7a209156afffa9a', '2026-11-25 22:52:59.584022+00'),
	('fail_task', '8b9f1498596ad05fde486afc6f3134b5c6b8bdc88b2184004693f6487c8a8428', '2026-11-25 22:52:59.584022+00'),
	('get_run_with_states', 'b3e32abac2f145b5cd787c3cc80467aa10c6dc6d7688ec8204d31dccd943504f', '2026-11-25 22:52:59.584022+00'),
	('is_local', '9ba41c6cfea58ade227bcc0df87e93913d8c4f59708912ffc9802bddd84f47bc', '2026-11-25 22:52:59.584022+00'),
	('mark_worker_stopped', 'efa8da652f81292ec627d73c2875cc5e99bc1cb915d3658e291ef7f126aa6b2c', '2026-11-25 22:52:59.584022+00'),
	('maybe_complete_run', 'e7ce55e701613c854e4214e2a2fbc8705046582adc46e810f5e725192ea62f93', '2026-11-25 22:52:59.584022+00'),
	('pause_flow', '35ff7a26a74006b4603a50842ef9d909870723175eba5a428316c21905844bed', '2026-11-25 22:52:59.584022+00'),
	('poll_for_tasks', '90caef1c7341ba84770372d3fca4e924038e301366b7f79edbc3f4bce360c868', '2026-11-25 22:52:59.584022+00'),
	('poll_tasks', '049adef01828eff5e648cc2d6e43dc94048892c263a52b3b420b465a451e3666', '2026-11-25 22:52:59.584022+00'),
	('prune_data_older_than', '86689393fcc5101019ca00b927f4ae2b81c0c100740ab1c20cbb0dc7b33f5251', '2026-11-25 22:52:59.584022+00'),
	('register_worker', 'a6ec1bb00d0d50eb80842c4b69da76edba638298415415d440f602f7cbbc23ca', '2026-11-25 22:52:59.584022+00'),
	('requeue_stalled_tasks', '89fd72709fd6104614100364c4a9aa1ef0b1c4b6639840d5022a985fb5c2776c', '2026-11-25 22:52:59.584022+00'),
	('rerun', 'b417160aa854d86223aa66280fd5f5f4acf20eac622718610427cdcc8e24531c', '2026-11-25 22:52:59.584022+00'),
	('resume_flow', '40e09d3833286a17857d05501a884066fff8d9e1c19e2920ec0aadfd675ec4a5', '2026-11-25 22:52:59.584022+00'),
	('retry_run', '8419a784e880c7f9bedaadcccf066559998d9524408f0407c1665ae307236a78', '2026-11-25 22:52:59.584022+00'),
	('set_vt_batch', 'd4d444da6780a2d8b26b9be7bd8d6b01db7a48cb51349ca4e41e4c56adafcde7', '2026-11-25 22:52:59.584022+00'),
	('settle_and_poll', '29e2b8b87484019dc7aefce1968545025b2e71beefba67d47331c1bfef36a2fa', '2026-11-25 22:52:59.584022+00'),
	('settle_tasks', 'd1f34206cfc93d14b510b3c00267fb351026b18a4faf998899ae5464ce2d9cf9', '2026-11-25 22:52:59.584022+00'),
	('start_flow', '7164cc1056eede409d62d2f7280f3ca43e41e2d22dc7b3d168d39b0b43a1337f', '2026-11-25 22:52:59.584022+00'),
	('start_flow_with_states', '9087d34511b3662f2f7b1428669690d9eda6877bbc7d09f2370047ddbc930b1d', '2026-11-25 22:52:59.584022+00'),
	('start_flows', '47689234df76d89589eefb29f8c3a653a60c165a3b02a77ee118350f2e6e0770', '2026-11-25 22:52:59.584022+00'),
	('start_ready_steps', 'ce03b39ccc2dc91fb50250b852f4563c67b76dc3632a577b525b8b922f21db1c', '2026-11-25 22:52:59.584022+00'),
	('start_tasks', 'b27d4feda7694f857579059deb923c63431d9a5177efd58758d6ff1e5308adba', '2026-11-25 22:52:59.584022+00'),
	('track_worker_function', 'f4cf218da720c1f32e755ad1e549f362c582a6053d9894ea52e2e47b5e41613c', '2026-11-25 22:52:59.584022+00');


INSERT INTO pgflow.schema_migrations VALUES
	(1, '0001_core', '2026-11-25 22:52:59.584022+00');


INSERT INTO pgflow.step_states VALUES
	('orders', '0221d04c-de18-5ac9-8bd6-101e763c8ea7', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:00.479756+00', NULL, NULL, NULL, NULL),
	('orders', '0221d04c-de18-5ac9-8bd6-101e763c8ea7', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:00.479756+00', NULL, NULL, NULL, '2026-11-25 22:53:00.479756+00'),
	('orders', '0221d04c-de18-5ac9-8bd6-101e763c8ea7', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:00.479756+00', NULL, NULL, NULL, NULL),
	('orders', '0221d04c-de18-5ac9-8bd6-101e763c8ea7', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:00.479756+00', '2026-11-25 22:53:00.479756+00', NULL, NULL, NULL),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'items', 'completed', 0, 1, 0, '[0, 1, 2, 3]', NULL, NULL, '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.939796+00', NULL, NULL),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'wrap', 'completed', 0, 1, 0, '"in paper"', NULL, NULL, '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.939796+00', NULL, NULL),
	('orders', 'a162bc5a-1b17-5926-b6ad-502a207a14ec', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.318087+00', NULL, NULL, NULL, NULL),
	('orders', 'a162bc5a-1b17-5926-b6ad-502a207a14ec', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.318087+00', '2026-11-25 22:53:01.318087+00', NULL, NULL, NULL),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'price', 'completed', 0, 4, 0, '[0, 10, 20, 30]', NULL, NULL, '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:01.075117+00', NULL, NULL),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'total', 'completed', 0, 1, 0, '"60, in paper"', NULL, NULL, '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:01.075117+00', '2026-11-25 22:53:01.159175+00', NULL, NULL),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.191812+00', NULL, NULL, NULL, '2026-11-25 22:53:01.191812+00'),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.191812+00', NULL, NULL, NULL, NULL),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'items', 'completed', 0, 1, 0, '[0, 1, 2, 3]', NULL, NULL, '2026-11-25 22:53:01.191812+00', '2026-11-25 22:53:01.191812+00', '2026-11-25 22:53:01.243094+00', NULL, NULL),
	('orders', '15bcb861-3be2-5d74-b1b1-aebc78713afc', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.369691+00', NULL, NULL, NULL, NULL),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'price', 'failed', 3, 4, 0, NULL, 'no such item', NULL, '2026-11-25 22:53:01.191812+00', '2026-11-25 22:53:01.243094+00', NULL, '2026-11-25 22:53:01.287888+00', NULL),
	('orders', 'a162bc5a-1b17-5926-b6ad-502a207a14ec', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.318087+00', NULL, NULL, NULL, NULL),
	('orders', 'a162bc5a-1b17-5926-b6ad-502a207a14ec', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.318087+00', NULL, NULL, NULL, '2026-11-25 22:53:01.318087+00'),
	('orders', '15bcb861-3be2-5d74-b1b1-aebc78713afc', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.369691+00', NULL, NULL, NULL, '2026-11-25 22:53:01.369691+00'),
	('orders', '15bcb861-3be2-5d74-b1b1-aebc78713afc', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.369691+00', NULL, NULL, NULL, NULL),
	('orders', '15bcb861-3be2-5d74-b1b1-aebc78713afc', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.369691+00', '2026-11-25 22:53:01.369691+00', NULL, NULL, NULL),
	('orders', '92f063f7-1a65-5f25-b866-154f6f16f821', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.432987+00', NULL, NULL, NULL, NULL),
	('orders', '92f063f7-1a65-5f25-b866-154f6f16f821', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.432987+00', NULL, NULL, NULL, '2026-11-25 22:53:01.432987+00'),
	('orders', '92f063f7-1a65-5f25-b866-154f6f16f821', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.432987+00', NULL, NULL, NULL, NULL),
	('orders', '92f063f7-1a65-5f25-b866-154f6f16f821', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.432987+00', '2026-11-25 22:53:01.432987+00', NULL, NULL, NULL),
	('orders', 'e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.474574+00', NULL, NULL, NULL, NULL),
	('orders', 'e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.474574+00', NULL, NULL, NULL, '2026-11-25 22:53:01.474574+00'),
	('orders', 'e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.474574+00', NULL, NULL, NULL, NULL),
	('orders', 'e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.474574+00', '2026-11-25 22:53:01.474574+00', NULL, NULL, NULL),
	('orders', '939d7484-4ea6-546e-b1fe-e7344521bad8', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.547221+00', NULL, NULL, NULL, NULL),
	('orders', '939d7484-4ea6-546e-b1fe-e7344521bad8', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.547221+00', NULL, NULL, NULL, '2026-11-25 22:53:01.547221+00'),
	('orders', '939d7484-4ea6-546e-b1fe-e7344521bad8', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.547221+00', NULL, NULL, NULL, NULL),
	('orders', '939d7484-4ea6-546e-b1fe-e7344521bad8', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.547221+00', '2026-11-25 22:53:01.547221+00', NULL, NULL, NULL),
	('orders', 'a598d7b1-c230-5659-adaa-23b584dd31d9', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.590666+00', '2026-11-25 22:53:01.590666+00', NULL, NULL, NULL),
	('orders', 'a598d7b1-c230-5659-adaa-23b584dd31d9', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.590666+00', NULL, NULL, NULL, NULL),
	('orders', 'a598d7b1-c230-5659-adaa-23b584dd31d9', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.590666+00', NULL, NULL, NULL, '2026-11-25 22:53:01.590666+00'),
	('orders', 'a598d7b1-c230-5659-adaa-23b584dd31d9', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.590666+00', NULL, NULL, NULL, NULL),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.653521+00', NULL, NULL, NULL, '2026-11-25 22:53:01.653521+00'),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.653521+00', NULL, NULL, NULL, NULL),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'items', 'completed', 0, 1, 0, '[0, 1, 2, 3]', NULL, NULL, '2026-11-25 22:53:01.653521+00', '2026-11-25 22:53:01.653521+00', '2026-11-25 22:53:01.693721+00', NULL, NULL),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'price', 'started', 2, 4, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.653521+00', '2026-11-25 22:53:01.693721+00', NULL, NULL, NULL),
	('orders', '10c56c9b-0ebd-5985-b570-418ee8add47a', 'price', 'created', NULL, NULL, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.756073+00', NULL, NULL, NULL, NULL),
	('orders', '10c56c9b-0ebd-5985-b570-418ee8add47a', 'wrap', 'skipped', NULL, 1, 0, NULL, NULL, 'condition_unmet', '2026-11-25 22:53:01.756073+00', NULL, NULL, NULL, '2026-11-25 22:53:01.756073+00'),
	('orders', '10c56c9b-0ebd-5985-b570-418ee8add47a', 'total', 'created', NULL, 1, 1, NULL, NULL, NULL, '2026-11-25 22:53:01.756073+00', NULL, NULL, NULL, NULL),
	('orders', '10c56c9b-0ebd-5985-b570-418ee8add47a', 'items', 'started', 1, 1, 0, NULL, NULL, NULL, '2026-11-25 22:53:01.756073+00', '2026-11-25 22:53:01.756073+00', NULL, NULL, NULL);


INSERT INTO pgflow.step_tasks VALUES
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'price', 4, 0, 'completed', 1, NULL, '0', '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:01.054808+00', '2026-11-25 22:53:01.075117+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '0'),
	('orders', '0221d04c-de18-5ac9-8bd6-101e763c8ea7', 'items', 1, 0, 'started', 4, NULL, NULL, '2026-11-25 22:53:00.479756+00', '2026-11-25 22:53:00.810669+00', NULL, NULL, '5bed39b8-23f2-4dd4-9484-2df034a5c807', 3, '2026-11-25 22:53:00.810669+00', '2026-11-25 22:53:00.842986+00', 4, 0, NULL, NULL),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'items', 2, 0, 'completed', 1, NULL, '[0, 1, 2, 3]', '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.92308+00', '2026-11-25 22:53:00.939796+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, NULL),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'wrap', 3, 0, 'completed', 1, NULL, '"in paper"', '2026-11-25 22:53:00.886126+00', '2026-11-25 22:53:00.92308+00', '2026-11-25 22:53:00.939796+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, NULL),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'price', 10, 0, 'completed', 1, NULL, '0', '2026-11-25 22:53:01.243094+00', '2026-11-25 22:53:01.275091+00', '2026-11-25 22:53:01.287888+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '0'),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'price', 11, 1, 'failed', 1, 'no such item', NULL, '2026-11-25 22:53:01.243094+00', '2026-11-25 22:53:01.275091+00', NULL, '2026-11-25 22:53:01.287888+00', 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '1'),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'price', 5, 1, 'completed', 1, NULL, '10', '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:01.054808+00', '2026-11-25 22:53:01.075117+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '1'),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'price', 6, 2, 'completed', 1, NULL, '20', '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:01.054808+00', '2026-11-25 22:53:01.075117+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '2'),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'price', 7, 3, 'completed', 1, NULL, '30', '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:01.054808+00', '2026-11-25 22:53:01.075117+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '3'),
	('orders', '0a5e7058-e30e-52ae-8c9a-0118a2a951d2', 'total', 8, 0, 'completed', 1, NULL, '"60, in paper"', '2026-11-25 22:53:01.075117+00', '2026-11-25 22:53:01.140384+00', '2026-11-25 22:53:01.159175+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, NULL),
	('orders', 'a162bc5a-1b17-5926-b6ad-502a207a14ec', 'items', 14, 0, 'started', 1, NULL, NULL, '2026-11-25 22:53:01.318087+00', '2026-11-25 22:53:01.350284+00', NULL, NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 0, '2026-11-25 22:53:03.351891+00', NULL),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'items', 9, 0, 'completed', 1, NULL, '[0, 1, 2, 3]', '2026-11-25 22:53:01.191812+00', '2026-11-25 22:53:01.224185+00', '2026-11-25 22:53:01.243094+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, NULL),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'price', 13, 3, 'queued', 0, NULL, NULL, '2026-11-25 22:53:01.243094+00', NULL, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, '3'),
	('orders', 'd1d5bc92-db90-5163-87ff-62bf4d021e4f', 'price', 12, 2, 'started', 1, NULL, NULL, '2026-11-25 22:53:01.243094+00', '2026-11-25 22:53:01.275091+00', NULL, NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 0, '2026-11-25 22:53:03.275568+00', '2'),
	('orders', '15bcb861-3be2-5d74-b1b1-aebc78713afc', 'items', 15, 0, 'queued', 1, 'not yet', NULL, '2026-11-25 22:53:01.369691+00', NULL, NULL, NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, NULL),
	('orders', '92f063f7-1a65-5f25-b866-154f6f16f821', 'items', 16, 0, 'queued', 0, NULL, NULL, '2026-11-25 22:53:01.432987+00', NULL, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL),
	('orders', 'e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e', 'items', 17, 0, 'started', 1, NULL, NULL, '2026-11-25 22:53:01.474574+00', '2026-11-25 22:53:01.523172+00', NULL, NULL, '0ada60b4-00af-49cd-a626-849d8526b627', 0, NULL, NULL, 1, 0, NULL, NULL),
	('orders', '939d7484-4ea6-546e-b1fe-e7344521bad8', 'items', 18, 0, 'started', 1, NULL, NULL, '2026-11-25 22:53:01.547221+00', '2026-11-25 22:53:01.575978+00', NULL, NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 0, '2026-11-25 22:53:03.57642+00', NULL),
	('orders', 'a598d7b1-c230-5659-adaa-23b584dd31d9', 'items', 19, 0, 'started', 1, NULL, NULL, '2026-11-25 22:53:01.590666+00', '2026-11-25 22:53:01.639131+00', NULL, NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 0, '2026-11-25 22:53:03.639487+00', NULL),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'items', 20, 0, 'completed', 1, NULL, '[0, 1, 2, 3]', '2026-11-25 22:53:01.653521+00', '2026-11-25 22:53:01.687421+00', '2026-11-25 22:53:01.693721+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, NULL),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'price', 24, 3, 'queued', 0, NULL, NULL, '2026-11-25 22:53:01.693721+00', NULL, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, '3'),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'price', 23, 2, 'started', 1, NULL, NULL, '2026-11-25 22:53:01.693721+00', '2026-11-25 22:53:01.729522+00', NULL, NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 0, '2026-11-25 22:53:03.729939+00', '2'),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'price', 21, 0, 'completed', 1, NULL, '0', '2026-11-25 22:53:01.693721+00', '2026-11-25 22:53:01.729522+00', '2026-11-25 22:53:01.742721+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '0'),
	('orders', '743f898f-89ed-5669-8a11-c60b6094f3b0', 'price', 22, 1, 'completed', 1, NULL, '10', '2026-11-25 22:53:01.693721+00', '2026-11-25 22:53:01.729522+00', '2026-11-25 22:53:01.742721+00', NULL, 'abd50e23-9464-4dcf-b243-5fd394dc49dd', 0, NULL, NULL, 1, 1, NULL, '1'),
	('orders', '10c56c9b-0ebd-5985-b570-418ee8add47a', 'items', 25, 0, 'queued', 0, NULL, NULL, '2026-11-25 22:53:01.756073+00', NULL, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL);


INSERT INTO pgflow.steps VALUES
	('orders', 'items', 'single', 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, 'skip', 'fail', '2026-11-25 22:53:00.290409+00', NULL),
	('orders', 'price', 'map', 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, 'skip', 'fail', '2026-11-25 22:53:00.290409+00', NULL),
	('orders', 'wrap', 'single', 2, 0, NULL, NULL, NULL, NULL, '{"gift": true}', NULL, 'skip', 'fail', '2026-11-25 22:53:00.290409+00', NULL),
	('orders', 'total', 'single', 3, 2, NULL, NULL, NULL, NULL, NULL, NULL, 'skip', 'fail', '2026-11-25 22:53:00.290409+00', NULL);


INSERT INTO pgflow.workers VALUES
	('12dde312-aa43-4a38-995c-97df0eb725c6', 'orders', 'tests', '2026-11-25 22:53:00.619095+00', NULL, '2026-11-25 22:53:00.82933+00', '2026-11-25 22:53:00.619095+00', 2),
	('e413038e-708b-4f89-abd5-74d15f68e559', 'orders', 'tests', '2026-11-25 22:53:00.709012+00', NULL, '2026-11-25 22:53:00.82933+00', '2026-11-25 22:53:00.709012+00', 2),
	('6c13f941-833f-4a0c-9fbd-b4fc4c08afa4', 'orders', 'tests', '2026-11-25 22:53:00.774545+00', NULL, '2026-11-25 22:53:00.82933+00', '2026-11-25 22:53:00.774545+00', 2),
	('5bed39b8-23f2-4dd4-9484-2df034a5c807', 'orders', 'tests', '2026-11-25 22:53:00.809842+00', NULL, '2026-11-25 22:53:00.82933+00', '2026-11-25 22:53:00.809842+00', 2),
	('6dfa4500-26a8-41c5-bada-2eaaafa570d3', 'orders', 'tests', '2026-11-25 22:53:00.841955+00', NULL, NULL, '2026-11-25 22:53:00.841955+00', 2),
	('abd50e23-9464-4dcf-b243-5fd394dc49dd', 'orders', 'tests', '2026-11-25 22:53:00.884887+00', NULL, NULL, '2026-11-25 22:53:00.884887+00', 2),
	('0ada60b4-00af-49cd-a626-849d8526b627', 'orders', 'orders', '2026-11-25 22:53:01.509837+00', NULL, NULL, '2026-11-25 22:53:01.509837+00', NULL);


INSERT INTO pgmq.a_orders VALUES
	(1, 0, '2026-11-25 22:53:00.479756+00', NULL, '2026-11-25 22:53:00.842986+00', '2026-11-25 22:53:02.844174+00', '{"run_id": "0221d04c-de18-5ac9-8bd6-101e763c8ea7", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(2, 0, '2026-11-25 22:53:00.886126+00', NULL, '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:02.923519+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(3, 0, '2026-11-25 22:53:00.886126+00', NULL, '2026-11-25 22:53:00.939796+00', '2026-11-25 22:53:02.923519+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "wrap", "task_index": 0}', NULL),
	(4, 0, '2026-11-25 22:53:00.939796+00', NULL, '2026-11-25 22:53:01.075117+00', '2026-11-25 22:53:03.055396+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "price", "task_index": 0}', NULL),
	(5, 0, '2026-11-25 22:53:00.939796+00', NULL, '2026-11-25 22:53:01.075117+00', '2026-11-25 22:53:03.055396+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "price", "task_index": 1}', NULL),
	(6, 0, '2026-11-25 22:53:00.939796+00', NULL, '2026-11-25 22:53:01.075117+00', '2026-11-25 22:53:03.055396+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "price", "task_index": 2}', NULL),
	(7, 0, '2026-11-25 22:53:00.939796+00', NULL, '2026-11-25 22:53:01.075117+00', '2026-11-25 22:53:03.055396+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "price", "task_index": 3}', NULL),
	(8, 0, '2026-11-25 22:53:01.075117+00', NULL, '2026-11-25 22:53:01.159175+00', '2026-11-25 22:53:03.140877+00', '{"run_id": "0a5e7058-e30e-52ae-8c9a-0118a2a951d2", "flow_slug": "orders", "step_slug": "total", "task_index": 0}', NULL),
	(9, 0, '2026-11-25 22:53:01.191812+00', NULL, '2026-11-25 22:53:01.243094+00', '2026-11-25 22:53:03.224679+00', '{"run_id": "d1d5bc92-db90-5163-87ff-62bf4d021e4f", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(10, 0, '2026-11-25 22:53:01.243094+00', NULL, '2026-11-25 22:53:01.287888+00', '2026-11-25 22:53:03.275568+00', '{"run_id": "d1d5bc92-db90-5163-87ff-62bf4d021e4f", "flow_slug": "orders", "step_slug": "price", "task_index": 0}', NULL),
	(11, 0, '2026-11-25 22:53:01.243094+00', NULL, '2026-11-25 22:53:01.287888+00', '2026-11-25 22:53:03.275568+00', '{"run_id": "d1d5bc92-db90-5163-87ff-62bf4d021e4f", "flow_slug": "orders", "step_slug": "price", "task_index": 1}', NULL),
	(13, 0, '2026-11-25 22:53:01.243094+00', NULL, '2026-11-25 22:53:01.287888+00', '2026-11-25 22:53:01.261343+00', '{"run_id": "d1d5bc92-db90-5163-87ff-62bf4d021e4f", "flow_slug": "orders", "step_slug": "price", "task_index": 3}', NULL),
	(12, 0, '2026-11-25 22:53:01.243094+00', NULL, '2026-11-25 22:53:01.287888+00', '2026-11-25 22:53:03.275568+00', '{"run_id": "d1d5bc92-db90-5163-87ff-62bf4d021e4f", "flow_slug": "orders", "step_slug": "price", "task_index": 2}', NULL),
	(14, 0, '2026-11-25 22:53:01.318087+00', NULL, '2026-11-25 22:53:01.35648+00', '2026-11-25 22:53:03.351891+00', '{"run_id": "a162bc5a-1b17-5926-b6ad-502a207a14ec", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(20, 0, '2026-11-25 22:53:01.653521+00', NULL, '2026-11-25 22:53:01.693721+00', '2026-11-25 22:53:03.687734+00', '{"run_id": "743f898f-89ed-5669-8a11-c60b6094f3b0", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(21, 0, '2026-11-25 22:53:01.693721+00', NULL, '2026-11-25 22:53:01.742721+00', '2026-11-25 22:53:03.729939+00', '{"run_id": "743f898f-89ed-5669-8a11-c60b6094f3b0", "flow_slug": "orders", "step_slug": "price", "task_index": 0}', NULL),
	(22, 0, '2026-11-25 22:53:01.693721+00', NULL, '2026-11-25 22:53:01.742721+00', '2026-11-25 22:53:03.729939+00', '{"run_id": "743f898f-89ed-5669-8a11-c60b6094f3b0", "flow_slug": "orders", "step_slug": "price", "task_index": 1}', NULL);


INSERT INTO pgmq.meta VALUES
	('orders', false, false, '2026-11-25 22:53:00.290409+00');


INSERT INTO pgmq.q_orders OVERRIDING SYSTEM VALUE VALUES
	(15, 0, '2026-11-25 22:53:01.369691+00', NULL, '2026-11-25 22:53:03.417081+00', '{"run_id": "15bcb861-3be2-5d74-b1b1-aebc78713afc", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(16, 0, '2026-11-25 22:53:01.432987+00', NULL, '2026-11-26 22:53:01.429354+00', '{"run_id": "92f063f7-1a65-5f25-b866-154f6f16f821", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(17, 1, '2026-11-25 22:53:01.474574+00', '2026-11-25 22:53:01.513736+00', '2026-11-25 22:54:03.526804+00', '{"run_id": "e9b0c36a-b3cd-5720-9c5f-5b4a5d39593e", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(18, 0, '2026-11-25 22:53:01.547221+00', NULL, '2026-11-25 22:53:03.57642+00', '{"run_id": "939d7484-4ea6-546e-b1fe-e7344521bad8", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(19, 0, '2026-11-25 22:53:01.590666+00', NULL, '2026-11-25 22:53:03.639487+00', '{"run_id": "a598d7b1-c230-5659-adaa-23b584dd31d9", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL),
	(24, 0, '2026-11-25 22:53:01.693721+00', NULL, '2026-11-25 22:53:01.721377+00', '{"run_id": "743f898f-89ed-5669-8a11-c60b6094f3b0", "flow_slug": "orders", "step_slug": "price", "task_index": 3}', NULL),
	(23, 0, '2026-11-25 22:53:01.693721+00', NULL, '2026-11-25 22:53:03.729939+00', '{"run_id": "743f898f-89ed-5669-8a11-c60b6094f3b0", "flow_slug": "orders", "step_slug": "price", "task_index": 2}', NULL),
	(25, 0, '2026-11-25 22:53:01.756073+00', NULL, '2026-11-25 22:53:01.774609+00', '{"run_id": "10c56c9b-0ebd-5985-b570-418ee8add47a", "flow_slug": "orders", "step_slug": "items", "task_index": 0}', NULL);


SELECT pg_catalog.setval('pgmq.q_orders_msg_id_seq', 25, true);


ALTER TABLE ONLY pgflow.deps
    ADD CONSTRAINT deps_pkey PRIMARY KEY (flow_slug, dep_slug, step_slug);


ALTER TABLE ONLY pgflow.flows
    ADD CONSTRAINT flows_pkey PRIMARY KEY (flow_slug);


ALTER TABLE ONLY pgflow.outage
    ADD CONSTRAINT outage_pkey PRIMARY KEY (only_row);


ALTER TABLE ONLY pgflow.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (run_id);


ALTER TABLE ONLY pgflow.schema_functions
    ADD CONSTRAINT schema_functions_pkey PRIMARY KEY (name);


ALTER TABLE ONLY pgflow.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);


ALTER TABLE ONLY pgflow.step_states
    ADD CONSTRAINT step_states_pkey PRIMARY KEY (run_id, step_slug);


ALTER TABLE ONLY pgflow.step_tasks
    ADD CONSTRAINT step_tasks_pkey PRIMARY KEY (run_id, step_slug, task_index);


ALTER TABLE ONLY pgflow.steps
    ADD CONSTRAINT steps_flow_slug_step_index_key UNIQUE (flow_slug, step_index);


ALTER TABLE ONLY pgflow.steps
    ADD CONSTRAINT steps_pkey PRIMARY KEY (flow_slug, step_slug);


ALTER TABLE ONLY pgflow.worker_functions
    ADD CONSTRAINT worker_functions_pkey PRIMARY KEY (function_name);


ALTER TABLE ONLY pgflow.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (worker_id);


ALTER TABLE ONLY pgmq.a_orders
    ADD CONSTRAINT a_orders_pkey PRIMARY KEY (msg_id);


ALTER TABLE ONLY pgmq.meta
    ADD CONSTRAINT meta_queue_name_key UNIQUE (queue_name);


ALTER TABLE ONLY pgmq.notify_insert_throttle
    ADD CONSTRAINT notify_insert_throttle_queue_name_key UNIQUE (queue_name);


ALTER TABLE ONLY pgmq.q_orders
    ADD CONSTRAINT q_orders_pkey PRIMARY KEY (msg_id);


ALTER TABLE ONLY pgmq.topic_bindings
    ADD CONSTRAINT topic_bindings_unique_pattern_queue UNIQUE (pattern, queue_name);


CREATE INDEX deps_by_step ON pgflow.deps USING btree (flow_slug, step_slug);


CREATE INDEX runs_by_flow_and_start ON pgflow.runs USING btree (flow_slug, started_at);


CREATE INDEX runs_by_start ON pgflow.runs USING btree (started_at);


CREATE UNIQUE INDEX runs_idempotency_key ON pgflow.runs USING btree (flow_slug, idempotency_key) WHERE (idempotency_key IS NOT NULL);


CREATE INDEX step_states_started ON pgflow.step_states USING btree (run_id, step_slug) WHERE (status = 'started'::text);


CREATE INDEX step_tasks_given_up ON pgflow.step_tasks USING btree (run_id, step_slug, task_index) WHERE (permanently_stalled_at IS NOT NULL);


CREATE INDEX archived_at_idx_orders ON pgmq.a_orders USING btree (archived_at);


CREATE INDEX idx_notify_throttle_active ON pgmq.notify_insert_throttle USING btree (queue_name, last_notified_at) WHERE (throttle_interval_ms > 0);


CREATE INDEX idx_topic_bindings_covering ON pgmq.topic_bindings USING btree (pattern) INCLUDE (queue_name, compiled_regex);


CREATE INDEX q_orders_vt_idx ON pgmq.q_orders USING btree (vt);


ALTER TABLE ONLY pgflow.deps
    ADD CONSTRAINT deps_flow_slug_dep_slug_fkey FOREIGN KEY (flow_slug, dep_slug) REFERENCES pgflow.steps(flow_slug, step_slug);


ALTER TABLE ONLY pgflow.deps
    ADD CONSTRAINT deps_flow_slug_fkey FOREIGN KEY (flow_slug) REFERENCES pgflow.flows(flow_slug);


ALTER TABLE ONLY pgflow.deps
    ADD CONSTRAINT deps_flow_slug_step_slug_fkey FOREIGN KEY (flow_slug, step_slug) REFERENCES pgflow.steps(flow_slug, step_slug);


ALTER TABLE ONLY pgflow.runs
    ADD CONSTRAINT runs_flow_slug_fkey FOREIGN KEY (flow_slug) REFERENCES pgflow.flows(flow_slug);


ALTER TABLE ONLY pgflow.step_states
    ADD CONSTRAINT step_states_flow_slug_fkey FOREIGN KEY (flow_slug) REFERENCES pgflow.flows(flow_slug);


ALTER TABLE ONLY pgflow.step_states
    ADD CONSTRAINT step_states_flow_slug_step_slug_fkey FOREIGN KEY (flow_slug, step_slug) REFERENCES pgflow.steps(flow_slug, step_slug);


ALTER TABLE ONLY pgflow.step_states
    ADD CONSTRAINT step_states_run_id_fkey FOREIGN KEY (run_id) REFERENCES pgflow.runs(run_id);


ALTER TABLE ONLY pgflow.step_tasks
    ADD CONSTRAINT step_tasks_run_id_step_slug_fkey FOREIGN KEY (run_id, step_slug) REFERENCES pgflow.step_states(run_id, step_slug);


ALTER TABLE ONLY pgflow.steps
    ADD CONSTRAINT steps_flow_slug_fkey FOREIGN KEY (flow_slug) REFERENCES pgflow.flows(flow_slug);


ALTER TABLE ONLY pgmq.notify_insert_throttle
    ADD CONSTRAINT notify_insert_throttle_meta_queue_name_fk FOREIGN KEY (queue_name) REFERENCES pgmq.meta(queue_name) ON DELETE CASCADE;


ALTER TABLE ONLY pgmq.topic_bindings
    ADD CONSTRAINT topic_bindings_meta_queue_name_fk FOREIGN KEY (queue_name) REFERENCES pgmq.meta(queue_name) ON DELETE CASCADE;


GRANT USAGE ON SCHEMA pgmq TO pg_monitor;


GRANT SELECT ON TABLE pgmq.a_orders TO pg_monitor;


GRANT SELECT ON TABLE pgmq.meta TO pg_monitor;


GRANT SELECT ON TABLE pgmq.notify_insert_throttle TO pg_monitor;


GRANT SELECT ON TABLE pgmq.q_orders TO pg_monitor;


GRANT SELECT ON SEQUENCE pgmq.q_orders_msg_id_seq TO pg_monitor;


GRANT SELECT ON TABLE pgmq.topic_bindings TO pg_monitor;


ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA pgmq GRANT SELECT ON SEQUENCES  TO pg_monitor;


ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA pgmq GRANT SELECT ON TABLES  TO pg_monitor;


