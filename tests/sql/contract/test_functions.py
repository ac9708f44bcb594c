"""The functions' signatures and properties, as callers of all languages rely on them."""

from __future__ import annotations

import psycopg

from tests.support import rows, value

SIGNATURES = {
    "is_valid_slug": "(slug text) -> boolean",
    "create_flow": (
        "(flow_slug text, max_attempts integer DEFAULT NULL::integer, base_delay integer DEFAULT NULL::integer,"
        " timeout integer DEFAULT NULL::integer) -> pgflow.flows"
    ),
    "add_step": (
        "(flow_slug text, step_slug text, deps_slugs text[] DEFAULT '{}'::text[],"
        " max_attempts integer DEFAULT NULL::integer, base_delay integer DEFAULT NULL::integer,"
        " timeout integer DEFAULT NULL::integer, start_delay integer DEFAULT NULL::integer,"
        " step_type text DEFAULT 'single'::text, required_input_pattern jsonb DEFAULT NULL::jsonb,"
        " forbidden_input_pattern jsonb DEFAULT NULL::jsonb, when_unmet text DEFAULT 'skip'::text,"
        " when_exhausted text DEFAULT 'fail'::text) -> pgflow.steps"
    ),
    "_get_flow_shape": "(p_flow_slug text) -> jsonb",
    "_compare_flow_shapes": "(p_local jsonb, p_db jsonb) -> text[]",
    "_create_flow_from_shape": "(p_flow_slug text, p_shape jsonb) -> void",
    "ensure_flow_compiled": "(flow_slug text, shape jsonb, allow_data_loss boolean DEFAULT false) -> jsonb",
    "is_local": "() -> boolean",
    "delete_flow_and_data": "(p_flow_slug text) -> void",
    "start_flow": "(flow_slug text, input jsonb, run_id uuid DEFAULT NULL::uuid) -> SETOF pgflow.runs",
    "start_flow_with_states": "(flow_slug text, input jsonb, run_id uuid DEFAULT NULL::uuid) -> jsonb",
    "get_run_with_states": "(run_id uuid) -> jsonb",
    "start_ready_steps": "(run_id uuid) -> void",
    "cascade_resolve_conditions": "(run_id uuid) -> boolean",
    "_cascade_force_skip_steps": "(run_id uuid, step_slug text, skip_reason text) -> integer",
    "cascade_complete_taskless_steps": "(run_id uuid) -> integer",
    "start_tasks": "(flow_slug text, msg_ids bigint[], worker_id uuid) -> SETOF pgflow.step_task_record",
    "complete_task": ("(run_id uuid, step_slug text, task_index integer, output jsonb) -> SETOF pgflow.step_tasks"),
    "maybe_complete_run": "(run_id uuid) -> void",
    "fail_task": ("(run_id uuid, step_slug text, task_index integer, error_message text) -> SETOF pgflow.step_tasks"),
    "calculate_retry_delay": "(base_delay numeric, attempts_count integer) -> integer",
    "set_vt_batch": (
        "(queue_name text, msg_ids bigint[], vt_offsets integer[]) -> TABLE(msg_id bigint, read_ct integer,"
        " enqueued_at timestamp with time zone, vt timestamp with time zone, message jsonb, headers jsonb)"
    ),
    "_archive_task_message": "(p_run_id uuid, p_step_slug text, p_task_index integer) -> void",
    "poll_for_tasks": (
        "(queue_name text, vt integer, qty integer, max_poll_seconds integer DEFAULT 5,"
        " poll_interval_ms integer DEFAULT 100) -> SETOF pgflow.step_task_record"
    ),
    "requeue_stalled_tasks": "() -> integer",
    "prune_data_older_than": "(retention_interval interval) -> void",
    "track_worker_function": "(function_name text) -> void",
    "mark_worker_stopped": "(worker_id uuid) -> void",
}
IMMUTABLE = {"is_valid_slug", "calculate_retry_delay"}
STABLE = {"is_local", "_get_flow_shape", "_compare_flow_shapes"}
SECURITY_DEFINER = {"start_flow_with_states", "get_run_with_states", "requeue_stalled_tasks"}


def test_each_function_exists_once_with_just_these_parameters(trial: psycopg.Connection) -> None:
    found = rows(
        trial,
        """select proname, '(' || pg_get_function_arguments(oid) || ') -> ' || pg_get_function_result(oid)
           from pg_proc where pronamespace = 'pgflow'::regnamespace and proname = any (%s) order by 1""",
        list(SIGNATURES),
    )
    assert found == sorted(SIGNATURES.items())


def test_each_function_has_the_promised_properties(trial: psycopg.Connection) -> None:
    found = rows(
        trial,
        """select proname, provolatile::text, proisstrict, prosecdef
           from pg_proc where pronamespace = 'pgflow'::regnamespace and proname = any (%s) order by 1""",
        list(SIGNATURES),
    )
    assert found == [
        (name, "i" if name in IMMUTABLE else "s" if name in STABLE else "v", False, name in SECURITY_DEFINER)
        for name in sorted(SIGNATURES)
    ]


def test_every_function_sets_an_empty_search_path(trial: psycopg.Connection) -> None:
    without = rows(
        trial,
        """select proname from pg_proc where pronamespace = 'pgflow'::regnamespace
           and not coalesce('search_path=""' = any (proconfig), false)""",
    )
    assert without == []


def test_functions_work_whatever_the_callers_search_path(trial: psycopg.Connection) -> None:
    trial.execute("set search_path to ''")
    trial.execute("select pgflow.create_flow('flow')")
    trial.execute("select pgflow.add_step('flow', 'a')")
    trial.execute("select pgflow.start_flow('flow', '{}')")
    trial.execute("select pgflow.complete_task(run_id, 'a', 0, '1') from pgflow.runs")
    assert value(trial, "select count(*) from pgflow.step_tasks") == 1


def test_callers_may_pass_untyped_literals_by_position(trial: psycopg.Connection) -> None:
    trial.execute("select pgflow.create_flow('flow', 1, 0, 5)")
    trial.execute(
        "select pgflow.add_step('flow', 'a', '{}', 1, 0, 5, 0, 'single', '{}', null, 'skip', 'fail')",
    )
    trial.execute("select pgflow.start_flow('flow', '{}', '6f1b9b5e-0000-4000-8000-000000000000')")
    trial.execute("select pgflow.start_tasks('flow', '{1}', '6f1b9b5e-0000-4000-8000-000000000001')")
    trial.execute("select pgflow.complete_task('6f1b9b5e-0000-4000-8000-000000000000', 'a', 0, '{\"done\": true}')")
    assert value(trial, "select output from pgflow.runs") == {"a": {"done": True}}


def test_nobody_but_the_owner_may_use_the_schema(trial: psycopg.Connection) -> None:
    public = rows(
        trial,
        """select privilege_type from pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
           where nspname = 'pgflow' and grantee = 0""",
    )
    assert public == []
