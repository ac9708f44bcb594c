"""The tables: columns, types, defaults and constraints, as callers who write rows themselves rely on them."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from tests.sql.flows import violates
from tests.sqlcoverage import untouched
from tests.support import rows, value

RUN = uuid.UUID("6f1b9b5e-0000-4000-8000-000000000000")
EARLY, LATE = "2020-01-01 00:00:00+00", "2020-01-01 00:00:01+00"
#: After every created_at and queued_at that defaults to now().
FUTURE = "2120-01-01 00:00:00+00"

# column -> (type, not null, default)
TEXT, INT, JSON, UUID, TIME = "text", "integer", "jsonb", "uuid", "timestamp with time zone"
NOW = (TIME, True, "now()")
COLUMNS = {
    "flows": {
        "flow_slug": (TEXT, True, None),
        "opt_max_attempts": (INT, True, "3"),
        "opt_base_delay": (INT, True, "1"),
        "opt_timeout": (INT, True, "60"),
        "created_at": NOW,
    },
    "steps": {
        "flow_slug": (TEXT, True, None),
        "step_slug": (TEXT, True, None),
        "step_type": (TEXT, True, "'single'::text"),
        "step_index": (INT, True, "0"),
        "deps_count": (INT, True, "0"),
        "opt_max_attempts": (INT, False, None),
        "opt_base_delay": (INT, False, None),
        "opt_timeout": (INT, False, None),
        "opt_start_delay": (INT, False, None),
        "required_input_pattern": (JSON, False, None),
        "forbidden_input_pattern": (JSON, False, None),
        "when_unmet": (TEXT, True, "'skip'::text"),
        "when_exhausted": (TEXT, True, "'fail'::text"),
        "created_at": NOW,
    },
    "deps": {
        "flow_slug": (TEXT, True, None),
        "dep_slug": (TEXT, True, None),
        "step_slug": (TEXT, True, None),
        "created_at": NOW,
    },
    "runs": {
        "run_id": (UUID, True, "gen_random_uuid()"),
        "flow_slug": (TEXT, True, None),
        "status": (TEXT, True, "'started'::text"),
        "input": (JSON, True, None),
        "output": (JSON, False, None),
        "remaining_steps": (INT, True, "0"),
        "started_at": NOW,
        "completed_at": (TIME, False, None),
        "failed_at": (TIME, False, None),
    },
    "step_states": {
        "flow_slug": (TEXT, True, None),
        "run_id": (UUID, True, None),
        "step_slug": (TEXT, True, None),
        "status": (TEXT, True, "'created'::text"),
        "remaining_tasks": (INT, False, None),
        "initial_tasks": (INT, False, None),
        "remaining_deps": (INT, True, "0"),
        "output": (JSON, False, None),
        "error_message": (TEXT, False, None),
        "skip_reason": (TEXT, False, None),
        "created_at": NOW,
        "started_at": (TIME, False, None),
        "completed_at": (TIME, False, None),
        "failed_at": (TIME, False, None),
        "skipped_at": (TIME, False, None),
    },
    "step_tasks": {
        "flow_slug": (TEXT, True, None),
        "run_id": (UUID, True, None),
        "step_slug": (TEXT, True, None),
        "message_id": ("bigint", False, None),
        "task_index": (INT, True, "0"),
        "status": (TEXT, True, "'queued'::text"),
        "attempts_count": (INT, True, "0"),
        "error_message": (TEXT, False, None),
        "output": (JSON, False, None),
        "queued_at": NOW,
        "started_at": (TIME, False, None),
        "completed_at": (TIME, False, None),
        "failed_at": (TIME, False, None),
        "last_worker_id": (UUID, False, None),
        "requeued_count": (INT, True, "0"),
        "last_requeued_at": (TIME, False, None),
        "permanently_stalled_at": (TIME, False, None),
    },
    "workers": {
        "worker_id": (UUID, True, None),
        "queue_name": (TEXT, True, None),
        "function_name": (TEXT, True, None),
        "started_at": NOW,
        "deprecated_at": (TIME, False, None),
        "stopped_at": (TIME, False, None),
        "last_heartbeat_at": NOW,
    },
    "worker_functions": {
        "function_name": (TEXT, True, None),
        "enabled": ("boolean", True, "true"),
        "debounce": ("interval", True, "'00:00:06'::interval"),
        "last_invoked_at": (TIME, False, None),
        "created_at": NOW,
        "updated_at": NOW,
    },
}


def columns(conn: psycopg.Connection, table: str) -> dict[str, tuple[str, bool, str | None]]:
    found = rows(
        conn,
        """select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
           from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
           where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum""",
        f"pgflow.{table}",
    )
    return {name: (kind, notnull, default) for name, kind, notnull, default in found}


def insert(conn: psycopg.Connection, table: str, /, **row: Any) -> None:
    """Inserts a row; JSON columns are given as Jsonb."""
    conn.execute(
        SQL("insert into pgflow.{} ({}) values ({})").format(
            Identifier(table),
            SQL(", ").join(map(Identifier, row)),
            SQL(", ").join(Placeholder() * len(row)),
        ),
        list(row.values()),
    )


def insert_flow(conn: psycopg.Connection) -> None:
    """A flow with two steps and a run of it, row by row as a caller may write them."""
    insert(conn, "flows", flow_slug="flow")
    insert(conn, "steps", flow_slug="flow", step_slug="a", step_index=0)
    insert(conn, "steps", flow_slug="flow", step_slug="b", step_index=1)
    insert(conn, "runs", run_id=RUN, flow_slug="flow", input=Jsonb({}))


def insert_state(conn: psycopg.Connection, **row: Any) -> None:
    insert(conn, "step_states", **{"flow_slug": "flow", "run_id": RUN, "step_slug": "a", **row})


def insert_task(conn: psycopg.Connection, **row: Any) -> None:
    insert(conn, "step_tasks", **{"flow_slug": "flow", "run_id": RUN, "step_slug": "a", **row})


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_the_promised_columns(trial: psycopg.Connection, table: str) -> None:
    found = columns(trial, table)
    assert {name: found.get(name) for name in COLUMNS[table]} == COLUMNS[table]


@pytest.mark.parametrize("table", COLUMNS)
def test_a_column_of_ours_is_nullable_or_has_a_default(trial: psycopg.Connection, table: str) -> None:
    ours = {name: column for name, column in columns(trial, table).items() if name not in COLUMNS[table]}
    assert [name for name, (_, notnull, default) in ours.items() if notnull and default is None] == []


def test_step_task_record_has_the_promised_attributes(trial: psycopg.Connection) -> None:
    assert list(columns(trial, "step_task_record").items()) == [
        ("flow_slug", (TEXT, False, None)),
        ("run_id", (UUID, False, None)),
        ("step_slug", (TEXT, False, None)),
        ("input", (JSON, False, None)),
        ("msg_id", ("bigint", False, None)),
        ("task_index", (INT, False, None)),
        ("flow_input", (JSON, False, None)),
    ]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("flows", ["flow_slug"]),
        ("steps", ["flow_slug", "step_slug"]),
        ("deps", ["flow_slug", "dep_slug", "step_slug"]),
        ("runs", ["run_id"]),
        ("step_states", ["run_id", "step_slug"]),
        ("step_tasks", ["run_id", "step_slug", "task_index"]),
        ("workers", ["worker_id"]),
        ("worker_functions", ["function_name"]),
    ],
)
def test_a_table_has_the_promised_primary_key(trial: psycopg.Connection, table: str, key: list[str]) -> None:
    found = rows(
        trial,
        """select c.conname, array(select a.attname::text from unnest(c.conkey) with ordinality as k(n, i)
             join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.n order by k.i)
           from pg_constraint c where c.conrelid = %s::regclass and c.contype = 'p'""",
        f"pgflow.{table}",
    )
    assert found == [(f"{table}_pkey", key)]


def test_foreign_keys_have_their_names_and_targets(trial: psycopg.Connection) -> None:
    found = rows(
        trial,
        "select conname, confrelid::regclass::text from pg_constraint where contype = 'f' and conrelid = any (%s)",
        [value(trial, "select %s::regclass::oid", f"pgflow.{table}") for table in COLUMNS],
    )
    assert dict(found).items() >= {
        ("steps_flow_slug_fkey", "pgflow.flows"),
        ("deps_flow_slug_fkey", "pgflow.flows"),
        ("deps_flow_slug_dep_slug_fkey", "pgflow.steps"),
        ("deps_flow_slug_step_slug_fkey", "pgflow.steps"),
        ("runs_flow_slug_fkey", "pgflow.flows"),
        ("step_states_flow_slug_fkey", "pgflow.flows"),
        ("step_states_run_id_fkey", "pgflow.runs"),
        ("step_states_flow_slug_step_slug_fkey", "pgflow.steps"),
        ("step_tasks_run_id_step_slug_fkey", "pgflow.step_states"),
    }


@untouched
def test_no_trigger_of_ours_watches_the_tables(trial: psycopg.Connection) -> None:
    found = rows(
        trial,
        """select tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid
           where c.relnamespace = 'pgflow'::regnamespace and not t.tgisinternal""",
    )
    assert found == []


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("slug_is_valid", {"flow_slug": "not-a-slug"}),
        ("opt_max_attempts_is_nonnegative", {"opt_max_attempts": -1}),
        ("opt_base_delay_is_nonnegative", {"opt_base_delay": -1}),
        ("opt_timeout_is_positive", {"opt_timeout": 0}),
        ("flows_pkey", {"flow_slug": "flow"}),
    ],
)
def test_a_bad_flow_is_refused(trial: psycopg.Connection, constraint: str, row: dict[str, Any]) -> None:
    insert_flow(trial)
    with violates(constraint):
        insert(trial, "flows", **{"flow_slug": "other", **row})


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("steps_flow_slug_fkey", {"flow_slug": "unknown"}),
        ("steps_step_slug_check", {"step_slug": "run"}),
        ("steps_step_type_check", {"step_type": "double"}),
        ("steps_deps_count_check", {"deps_count": -1}),
        ("opt_max_attempts_is_nonnegative", {"opt_max_attempts": -1}),
        ("opt_base_delay_is_nonnegative", {"opt_base_delay": -1}),
        ("opt_timeout_is_positive", {"opt_timeout": 0}),
        ("opt_start_delay_is_nonnegative", {"opt_start_delay": -1}),
        ("required_input_pattern_is_object", {"required_input_pattern": Jsonb([])}),
        ("required_input_pattern_is_object", {"required_input_pattern": Jsonb(None)}),
        ("forbidden_input_pattern_is_object", {"forbidden_input_pattern": Jsonb("x")}),
        ("when_unmet_is_valid", {"when_unmet": "ignore"}),
        ("when_exhausted_is_valid", {"when_exhausted": "ignore"}),
        ("steps_pkey", {"step_slug": "a"}),
        ("steps_flow_slug_step_index_key", {"step_index": 0}),
    ],
)
def test_a_bad_step_is_refused(trial: psycopg.Connection, constraint: str, row: dict[str, Any]) -> None:
    insert_flow(trial)
    with violates(constraint):
        insert(trial, "steps", **{"flow_slug": "flow", "step_slug": "new", "step_index": 2, **row})


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("deps_check", {"dep_slug": "a", "step_slug": "a"}),
        ("deps_flow_slug_dep_slug_fkey", {"dep_slug": "unknown"}),
        ("deps_flow_slug_step_slug_fkey", {"step_slug": "unknown"}),
    ],
)
def test_a_bad_dependency_is_refused(trial: psycopg.Connection, constraint: str, row: dict[str, Any]) -> None:
    insert_flow(trial)
    with violates(constraint):
        insert(trial, "deps", **{"flow_slug": "flow", "dep_slug": "a", "step_slug": "b", **row})


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("runs_pkey", {"run_id": RUN}),
        ("runs_flow_slug_fkey", {"flow_slug": "unknown"}),
        ("status_is_valid", {"status": "created"}),
        ("runs_remaining_steps_check", {"remaining_steps": -1}),
        ("completed_at_or_failed_at", {"completed_at": FUTURE, "failed_at": FUTURE}),
        ("completed_at_is_after_started_at", {"started_at": LATE, "completed_at": EARLY}),
        ("failed_at_is_after_started_at", {"started_at": LATE, "failed_at": EARLY}),
    ],
)
def test_a_bad_run_is_refused(trial: psycopg.Connection, constraint: str, row: dict[str, Any]) -> None:
    insert_flow(trial)
    with violates(constraint):
        insert(trial, "runs", **{"flow_slug": "flow", "input": Jsonb({}), **row})


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("step_states_run_id_fkey", {"run_id": uuid.UUID(int=0)}),
        ("step_states_flow_slug_step_slug_fkey", {"step_slug": "unknown"}),
        ("status_is_valid", {"status": "queued"}),
        ("remaining_tasks_state_consistency", {"status": "created", "remaining_tasks": 1}),
        ("remaining_tasks_state_consistency", {"status": "skipped", "skip_reason": "x", "remaining_tasks": 1}),
        ("status_and_remaining_tasks_match", {"status": "completed", "remaining_tasks": 1}),
        ("initial_tasks_known_when_started", {"status": "started"}),
        ("step_states_initial_tasks_check", {"initial_tasks": -1}),
        ("step_states_remaining_deps_check", {"remaining_deps": -1}),
        ("output_only_for_completed_or_null", {"status": "created", "output": Jsonb(1)}),
        ("output_only_for_completed_or_null", {"status": "failed", "output": Jsonb(None)}),
        ("skip_reason_matches_status", {"status": "skipped"}),
        ("skip_reason_matches_status", {"status": "created", "skip_reason": "x"}),
        ("completed_at_or_failed_at_or_skipped_at", {"completed_at": FUTURE, "failed_at": FUTURE}),
        ("completed_at_or_failed_at_or_skipped_at", {"completed_at": FUTURE, "skipped_at": FUTURE}),
        ("completed_at_or_failed_at_or_skipped_at", {"failed_at": FUTURE, "skipped_at": FUTURE}),
        ("started_at_is_after_created_at", {"created_at": LATE, "started_at": EARLY}),
        ("skipped_at_is_after_created_at", {"created_at": LATE, "skipped_at": EARLY}),
        ("completed_at_is_after_started_at", {"created_at": EARLY, "started_at": LATE, "completed_at": EARLY}),
        ("failed_at_is_after_started_at", {"created_at": EARLY, "started_at": LATE, "failed_at": EARLY}),
    ],
)
def test_a_bad_step_state_is_refused(trial: psycopg.Connection, constraint: str, row: dict[str, Any]) -> None:
    insert_flow(trial)
    with violates(constraint):
        insert_state(trial, **row)


@pytest.mark.parametrize(
    "row",
    [
        {"status": "started", "initial_tasks": 1, "remaining_tasks": None},
        {"status": "started", "initial_tasks": 0, "remaining_tasks": -1},
        {"status": "completed", "remaining_tasks": 0, "output": None},
        {"status": "completed", "remaining_tasks": 0, "output": Jsonb(1)},
        {"status": "completed", "remaining_tasks": 0, "created_at": LATE, "completed_at": EARLY},
        {"status": "failed", "remaining_tasks": 7, "created_at": LATE, "failed_at": EARLY},
        {"status": "failed", "completed_at": FUTURE},
        {"status": "skipped", "skip_reason": "whatever"},
        {"status": "skipped", "skip_reason": "", "created_at": EARLY, "started_at": LATE, "skipped_at": EARLY},
        {"status": "created", "initial_tasks": None, "started_at": FUTURE, "error_message": "note"},
        {"created_at": EARLY, "started_at": EARLY, "completed_at": EARLY},
    ],
)
def test_a_legal_if_odd_step_state_is_accepted(trial: psycopg.Connection, row: dict[str, Any]) -> None:
    insert_flow(trial)
    insert_state(trial, **row)


@pytest.mark.parametrize(
    ("constraint", "row"),
    [
        ("step_tasks_run_id_step_slug_fkey", {"run_id": uuid.UUID(int=0)}),
        ("step_tasks_run_id_step_slug_fkey", {"step_slug": "b"}),
        ("step_tasks_pkey", {"task_index": 1}),
        ("valid_status", {"status": "created"}),
        ("attempts_count_nonnegative", {"attempts_count": -1}),
        ("output_valid_only_for_completed", {"status": "queued", "output": Jsonb(1)}),
        ("output_valid_only_for_completed", {"status": "started", "output": Jsonb(1)}),
        ("completed_at_or_failed_at", {"completed_at": FUTURE, "failed_at": FUTURE}),
        ("started_at_is_after_queued_at", {"queued_at": LATE, "started_at": EARLY}),
        ("completed_at_is_after_queued_at", {"queued_at": LATE, "completed_at": EARLY}),
        ("failed_at_is_after_queued_at", {"queued_at": LATE, "failed_at": EARLY}),
        ("completed_at_is_after_started_at", {"queued_at": EARLY, "started_at": LATE, "completed_at": EARLY}),
        ("failed_at_is_after_started_at", {"queued_at": EARLY, "started_at": LATE, "failed_at": EARLY}),
    ],
)
def test_a_bad_task_is_refused(trial: psycopg.Connection, constraint: str, row: dict[str, Any]) -> None:
    insert_flow(trial)
    insert_state(trial)
    insert_task(trial, task_index=1)
    with violates(constraint):
        insert_task(trial, **row)


@pytest.mark.parametrize(
    "row",
    [
        {"status": "completed", "output": None},
        {"status": "failed", "output": Jsonb("offending"), "error_message": "x"},
        {"status": "completed", "output": Jsonb(None), "queued_at": EARLY, "started_at": EARLY, "completed_at": EARLY},
        {"status": "started", "message_id": None, "last_worker_id": None},
        {"task_index": -1, "requeued_count": -1},
        {"last_requeued_at": EARLY, "permanently_stalled_at": EARLY},
    ],
)
def test_a_legal_if_odd_task_is_accepted(trial: psycopg.Connection, row: dict[str, Any]) -> None:
    insert_flow(trial)
    insert_state(trial)
    insert_task(trial, **row)


@pytest.mark.parametrize("name", ["not-a-slug", "run", "x" * 200, "a/b c"])
def test_a_worker_functions_name_is_any_text(trial: psycopg.Connection, name: str) -> None:
    insert(trial, "worker_functions", function_name=name, debounce="1 second")


def test_a_debounce_below_a_second_is_refused(trial: psycopg.Connection) -> None:
    with violates("worker_functions_debounce_check"):
        insert(trial, "worker_functions", function_name="f", debounce="999 milliseconds")


def test_checks_are_those_of_the_contract_and_no_stricter_ones(trial: psycopg.Connection) -> None:
    """On the contract's columns: what callers write into those must not fail by a check of ours."""
    found = rows(
        trial,
        """select c.conrelid::regclass::text, array_agg(c.conname::text order by c.conname)
           from pg_constraint c where c.contype = 'c' and c.conrelid = any (%s) group by 1""",
        [value(trial, "select %s::regclass::oid", f"pgflow.{table}") for table in COLUMNS],
    )
    assert dict(found) == {
        "pgflow.flows": [
            "opt_base_delay_is_nonnegative",
            "opt_max_attempts_is_nonnegative",
            "opt_timeout_is_positive",
            "slug_is_valid",
        ],
        "pgflow.steps": [
            "forbidden_input_pattern_is_object",
            "initial_tasks_is_for_maps",  # of a column of ours
            "opt_base_delay_is_nonnegative",
            "opt_max_attempts_is_nonnegative",
            "opt_start_delay_is_nonnegative",
            "opt_timeout_is_positive",
            "required_input_pattern_is_object",
            "steps_deps_count_check",
            "steps_step_slug_check",
            "steps_step_type_check",
            "when_exhausted_is_valid",
            "when_unmet_is_valid",
        ],
        "pgflow.deps": ["deps_check"],
        "pgflow.runs": [
            "completed_at_is_after_started_at",
            "completed_at_or_failed_at",
            "failed_at_is_after_started_at",
            "runs_remaining_steps_check",
            "status_is_valid",
        ],
        "pgflow.step_states": [
            "completed_at_is_after_started_at",
            "completed_at_or_failed_at_or_skipped_at",
            "failed_at_is_after_started_at",
            "initial_tasks_known_when_started",
            "output_only_for_completed_or_null",
            "remaining_tasks_state_consistency",
            "skip_reason_matches_status",
            "skipped_at_is_after_created_at",
            "started_at_is_after_created_at",
            "status_and_remaining_tasks_match",
            "status_is_valid",
            "step_states_initial_tasks_check",
            "step_states_remaining_deps_check",
        ],
        "pgflow.step_tasks": [
            "attempts_count_nonnegative",
            "completed_at_is_after_queued_at",
            "completed_at_is_after_started_at",
            "completed_at_or_failed_at",
            "failed_at_is_after_queued_at",
            "failed_at_is_after_started_at",
            "output_valid_only_for_completed",
            "started_at_is_after_queued_at",
            "valid_status",
        ],
        "pgflow.worker_functions": ["worker_functions_debounce_check"],
    }


def test_everything_can_be_deleted_table_by_table(conn: psycopg.Connection) -> None:
    conn.execute("select pgflow.create_flow('flow')")
    conn.execute("select pgflow.add_step('flow', 'a')")
    conn.execute("select pgflow.add_step('flow', 'b', '{a}')")
    conn.execute("select pgflow.start_flow('flow', '{}')")
    for table in ("step_tasks", "step_states", "runs", "deps", "steps", "flows", "workers", "worker_functions"):
        conn.execute(SQL("delete from pgflow.{}").format(Identifier(table)))
        assert value(conn, f"select count(*) from pgflow.{table}") == 0


def test_a_worker_that_has_worked_can_be_deleted(conn: psycopg.Connection) -> None:
    insert(conn, "workers", worker_id=RUN, queue_name="flow", function_name="flow")
    conn.execute("select pgflow.create_flow('flow')")
    conn.execute("select pgflow.add_step('flow', 'a')")
    conn.execute("select pgflow.start_flow('flow', '{}')")
    conn.execute("select pgflow.start_tasks('flow', array(select msg_id from pgmq.q_flow), %s)", (RUN,))
    conn.execute("delete from pgflow.workers")
    assert rows(conn, "select status from pgflow.step_tasks") == [("started",)]


def test_backdating_a_running_task_is_a_callers_right(conn: psycopg.Connection) -> None:
    conn.execute("select pgflow.create_flow('flow')")
    conn.execute("select pgflow.add_step('flow', 'a')")
    conn.execute("select pgflow.start_flow('flow', '{}')")
    conn.execute("update pgflow.step_tasks set queued_at = %s, started_at = %s, status = 'started'", (EARLY, LATE))
    conn.execute("update pgflow.step_states set created_at = %s, started_at = %s", (EARLY, LATE))
    conn.execute("update pgflow.runs set started_at = %s", (EARLY,))
    assert value(conn, "select started_at = %s from pgflow.step_tasks", LATE) is True
