"""What there is only where the schemas net, vault and cron exist: pinging workers, and its cron jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgflow import schema
from pgflow.testing.databases import Databases
from tests.sql.flows import add_worker, call
from tests.sql.lifecycle.stand_ins import LOCAL_SECRET, add_supabase
from tests.support import rows, value

LAYER = [
    "cleanup_ensure_workers_logs",
    "ensure_workers",
    "setup_ensure_workers_cron",
    "setup_requeue_stalled_tasks_cron",
]
NEVER = None
OK_SECRETS = {"pgflow_auth_secret": "key", "supabase_project_id": "proj"}


def installed(conn: psycopg.Connection) -> list[str]:
    sql = "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace and proname = any (%s) order by 1"
    return [name for (name,) in rows(conn, sql, LAYER)]


def keep_secrets(conn: psycopg.Connection, **secrets: str) -> None:
    for name, secret in secrets.items():
        conn.execute("insert into vault.decrypted_secrets values (%s, %s)", (name, secret))


def add_function(
    conn: psycopg.Connection, name: str, *, enabled: bool = True, invoked: float | None = NEVER, debounce: int = 6
) -> None:
    """A worker function, last invoked so many seconds ago."""
    conn.execute(
        """insert into pgflow.worker_functions (function_name, enabled, debounce, last_invoked_at)
           values (%s, %s, make_interval(secs => %s), now() - make_interval(secs => %s))""",
        (name, enabled, debounce, invoked),
    )


def ping(conn: psycopg.Connection) -> list[str]:
    """The functions that ensure_workers says it pinged."""
    return sorted(row["function_name"] for row in call(conn, "ensure_workers"))


def posted(conn: psycopg.Connection) -> list[Any]:
    return rows(conn, "select url, headers, body from net.posted order by url")


@pytest.fixture(scope="module")
def supa_dsn(_databases: Databases) -> Iterator[str]:
    """A database as Supabase hosts it."""
    with _databases.lend() as dsn:
        add_supabase(dsn)
        yield dsn


@pytest.fixture
def supa(supa_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to it, with nothing there but what the install made."""
    with psycopg.connect(supa_dsn, autocommit=True) as conn:
        yield conn
        conn.execute("truncate pgflow.workers, pgflow.worker_functions, net.posted, vault.decrypted_secrets")
        conn.execute("truncate cron.job, cron.job_run_details")
        conn.execute("select pgflow.setup_requeue_stalled_tasks_cron()")


@pytest.fixture
def local(supa: psycopg.Connection) -> psycopg.Connection:
    """A developer's local stack."""
    supa.execute("select set_config('app.settings.jwt_secret', %s, false)", (LOCAL_SECRET,))
    return supa


@pytest.fixture
def hosted(supa: psycopg.Connection) -> psycopg.Connection:
    """Supabase with all the secrets that pinging needs."""
    keep_secrets(supa, **OK_SECRETS)
    return supa


# ------------------------------------------------------------------------------------------------ install


def test_elsewhere_the_layer_is_not_there(conn: psycopg.Connection) -> None:
    assert installed(conn) == []


@pytest.mark.parametrize("missing", ["net", "vault", "cron"])
def test_all_three_schemas_are_needed(dsn: str, missing: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        for name in {"net", "vault", "cron"} - {missing}:
            conn.execute(f"create schema {name}")
        schema.migrate(dsn)
        assert installed(conn) == []


def test_the_layer_comes_with_a_later_migrate_too(supa: psycopg.Connection) -> None:
    assert installed(supa) == LAYER


def test_the_layer_comes_with_the_first_migrate(empty_dsn: str) -> None:
    add_supabase(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        assert installed(conn) == LAYER
        assert rows(conn, "select jobname from cron.job") == [("pgflow_requeue_stalled_tasks",)]


def test_the_install_schedules_the_requeueing_once(dsn: str) -> None:
    add_supabase(dsn)
    assert schema.migrate(dsn) == []
    with psycopg.connect(dsn) as conn:
        jobs = rows(conn, "select jobid, jobname, schedule, command from cron.job")
    assert jobs == [(1, "pgflow_requeue_stalled_tasks", "15 seconds", "select pgflow.requeue_stalled_tasks()")]


def test_the_layers_functions_have_the_contracts_signatures(supa: psycopg.Connection) -> None:
    found = rows(
        supa,
        """select proname, pg_get_function_arguments(oid), pg_get_function_result(oid), proconfig
             from pg_proc where pronamespace = 'pgflow'::regnamespace and proname = any (%s) order by 1""",
        LAYER,
    )
    path = ['search_path=""']
    assert found == [
        ("cleanup_ensure_workers_logs", "retention_hours integer DEFAULT 24", "TABLE(cron_deleted bigint)", path),
        ("ensure_workers", "", "TABLE(function_name text, invoked boolean, request_id bigint)", path),
        ("setup_ensure_workers_cron", "cron_interval text DEFAULT '1 second'::text", "text", path),
        ("setup_requeue_stalled_tasks_cron", "cron_interval text DEFAULT '15 seconds'::text", "text", path),
    ]


# ------------------------------------------------------------------------------------------------ local


def test_locally_every_enabled_function_is_pinged_whatever_debounce_and_workers(local: psycopg.Connection) -> None:
    add_function(local, "fresh", invoked=0)
    add_function(local, "busy")
    add_worker(local, "busy")
    add_function(local, "off", enabled=False)
    assert ping(local) == ["busy", "fresh"]
    assert posted(local) == [
        ("http://kong:8000/functions/v1/busy", {}, {}),
        ("http://kong:8000/functions/v1/fresh", {}, {}),
    ]


def test_each_row_names_the_request(local: psycopg.Connection) -> None:
    add_function(local, "f")
    assert call(local, "ensure_workers") == [
        {"function_name": "f", "invoked": True, "request_id": value(local, "select id from net.posted")}
    ]


def test_locally_no_secret_is_needed_nor_sent(local: psycopg.Connection) -> None:
    keep_secrets(local, **OK_SECRETS)
    add_function(local, "f")
    ping(local)
    assert posted(local) == [("http://kong:8000/functions/v1/f", {}, {})]


# ------------------------------------------------------------------------------------------------ hosted


def test_hosted_the_functions_address_and_key_come_from_the_vault(hosted: psycopg.Connection) -> None:
    add_function(hosted, "f")
    assert ping(hosted) == ["f"]
    assert posted(hosted) == [
        (
            "https://proj.supabase.co/functions/v1/f",
            {"Content-Type": "application/json", "Authorization": "Bearer key"},
            {},
        )
    ]


@pytest.mark.parametrize(
    ("secrets", "key"),
    [
        ({"pgflow_auth_secret": "own", "supabase_service_role_key": "role"}, "own"),
        ({"supabase_service_role_key": "role"}, "role"),
        ({"pgflow_auth_secret": "", "supabase_service_role_key": "role"}, "role"),
    ],
)
def test_our_own_secret_comes_before_the_service_role_key(
    supa: psycopg.Connection, secrets: dict[str, str], key: str
) -> None:
    keep_secrets(supa, supabase_project_id="proj", **secrets)
    add_function(supa, "f")
    ping(supa)
    assert value(supa, "select headers ->> 'Authorization' from net.posted") == f"Bearer {key}"


@pytest.mark.parametrize(
    "secrets",
    [
        {},
        {"pgflow_auth_secret": "key"},
        {"supabase_project_id": "proj"},
        {"pgflow_auth_secret": "key", "supabase_project_id": ""},
        {"pgflow_auth_secret": "", "supabase_service_role_key": "", "supabase_project_id": "proj"},
    ],
)
def test_without_key_or_project_nothing_is_sent(supa: psycopg.Connection, secrets: dict[str, str]) -> None:
    keep_secrets(supa, **secrets)
    add_function(supa, "f")
    assert ping(supa) == []
    assert posted(supa) == []
    assert value(supa, "select last_invoked_at is null from pgflow.worker_functions")


@pytest.mark.parametrize(
    ("invoked", "debounce", "due"), [(NEVER, 6, True), (5, 6, False), (7, 6, True), (7, 60, False), (61, 60, True)]
)
def test_hosted_a_function_is_pinged_when_its_debounce_is_past(
    hosted: psycopg.Connection, invoked: float | None, debounce: int, due: bool
) -> None:
    add_function(hosted, "f", invoked=invoked, debounce=debounce)
    assert ping(hosted) == (["f"] if due else [])


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ("last_heartbeat_at = now()", False),
        ("last_heartbeat_at = now() - interval '5 seconds'", False),
        ("last_heartbeat_at = now() - interval '7 seconds'", True),
        ("stopped_at = now()", True),
        ("deprecated_at = now()", True),
        ("function_name = 'another'", True),
    ],
)
def test_hosted_a_function_with_a_live_worker_is_left_alone(hosted: psycopg.Connection, change: str, due: bool) -> None:
    add_function(hosted, "f")
    add_worker(hosted, "f")
    hosted.execute(f"update pgflow.workers set {change}")
    assert ping(hosted) == (["f"] if due else [])


def test_hosted_a_disabled_function_is_never_pinged(hosted: psycopg.Connection) -> None:
    add_function(hosted, "off", enabled=False)
    assert ping(hosted) == []


def test_one_live_worker_among_dead_ones_is_enough(hosted: psycopg.Connection) -> None:
    add_function(hosted, "f")
    add_worker(hosted, "f")
    hosted.execute("update pgflow.workers set stopped_at = now()")
    add_worker(hosted, "f")
    assert ping(hosted) == []


def test_only_those_pinged_get_a_new_last_invoked_at(hosted: psycopg.Connection) -> None:
    add_function(hosted, "due")
    add_function(hosted, "fresh", invoked=1)
    add_function(hosted, "off", enabled=False)
    before = rows(hosted, "select * from pgflow.worker_functions where function_name <> 'due' order by 1")
    with hosted.transaction():
        hosted.execute("select now()")
        assert ping(hosted) == ["due"]
        assert value(hosted, "select last_invoked_at > now() from pgflow.worker_functions where function_name = 'due'")
    assert rows(hosted, "select * from pgflow.worker_functions where function_name <> 'due' order by 1") == before


def test_hosted_a_second_ping_waits_for_the_debounce(hosted: psycopg.Connection) -> None:
    add_function(hosted, "f")
    assert ping(hosted) == ["f"]
    assert ping(hosted) == []


# ------------------------------------------------------------------------------------------------ cron


@pytest.mark.parametrize(("argument", "interval"), [("", "1 second"), ("'10 seconds'", "10 seconds")])
def test_setup_ensure_workers_cron_schedules_both_jobs(supa: psycopg.Connection, argument: str, interval: str) -> None:
    said = value(supa, f"select pgflow.setup_ensure_workers_cron({argument})")
    jobs = {row[0]: row[1:] for row in rows(supa, "select jobname, schedule, command, jobid from cron.job")}
    ensure, cleanup = jobs["pgflow_ensure_workers"], jobs["pgflow_cleanup_logs"]
    assert ensure[:2] == (interval, "select pgflow.ensure_workers()")
    assert cleanup[:2] == ("0 * * * *", "select pgflow.cleanup_ensure_workers_logs()")
    assert said == (
        f"Scheduled pgflow_ensure_workers (every {interval}, job_id={ensure[2]}) "
        f"and pgflow_cleanup_logs (hourly, job_id={cleanup[2]})"
    )


@pytest.mark.parametrize(("argument", "interval"), [("", "15 seconds"), ("'1 minute'", "1 minute")])
def test_setup_requeue_stalled_tasks_cron_replaces_the_job(
    supa: psycopg.Connection, argument: str, interval: str
) -> None:
    said = value(supa, f"select pgflow.setup_requeue_stalled_tasks_cron({argument})")
    ((name, schedule, command, job),) = rows(supa, "select jobname, schedule, command, jobid from cron.job")
    assert (name, schedule, command) == (
        "pgflow_requeue_stalled_tasks",
        interval,
        "select pgflow.requeue_stalled_tasks()",
    )
    assert said == f"Scheduled pgflow_requeue_stalled_tasks (every {interval}, job_id={job})"


def test_a_second_set_up_replaces_the_first(supa: psycopg.Connection) -> None:
    supa.execute("select pgflow.setup_ensure_workers_cron()")
    supa.execute("select pgflow.setup_ensure_workers_cron('5 seconds')")
    assert rows(supa, "select jobname, schedule from cron.job order by 1") == [
        ("pgflow_cleanup_logs", "0 * * * *"),
        ("pgflow_ensure_workers", "5 seconds"),
        ("pgflow_requeue_stalled_tasks", "15 seconds"),
    ]


@pytest.mark.parametrize(("argument", "kept"), [("", [1, 23]), ("2", [1]), ("48", [1, 23, 25])])
def test_cleaning_up_deletes_old_runs_of_cron_jobs(supa: psycopg.Connection, argument: str, kept: list[int]) -> None:
    for hours in (1, 23, 25):
        supa.execute("insert into cron.job_run_details values (%s, now() - make_interval(hours => %s))", (hours, hours))
    supa.execute("insert into cron.job_run_details values (0, null)")
    found = rows(supa, f"select cron_deleted from pgflow.cleanup_ensure_workers_logs({argument})")
    assert found == [(3 - len(kept),)]
    assert [job for (job,) in rows(supa, "select jobid from cron.job_run_details order by 1")] == [0, *kept]


def test_the_jobs_commands_run(local: psycopg.Connection) -> None:
    local.execute("select pgflow.setup_ensure_workers_cron()")
    add_function(local, "f")
    for (command,) in rows(local, "select command from cron.job"):
        local.execute(command)
    assert len(posted(local)) == 1
