-- How two shapes differ, one line per difference, steps compared by their index. Locks nothing.
-- initialTasks is ours: a shape that does not name it (a foreign one) never differs by it. A handler's name is,
-- like the options, no part of a comparison.
create or replace function pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb)
returns text[]
language plpgsql stable
set search_path to ''
as $$
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
