"""pgflow.ensure_flow_compiled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.flows import create_flow, start
from tests.support import eventually, rows, value

SHAPE = {"steps": [{"slug": "a", "stepType": "single"}, {"slug": "b", "stepType": "map", "dependencies": ["a"]}]}
#: What other implementations send: every key but the options.
FULL = {
    "steps": [
        {
            **each,
            "dependencies": each.get("dependencies", []),
            "whenUnmet": "skip",
            "whenExhausted": "fail",
            "requiredInputPattern": {"defined": False},
            "forbiddenInputPattern": {"defined": False},
        }
        for each in SHAPE["steps"]
    ]
}
OTHER = {"steps": FULL["steps"][:1]}
DIFFERENCES = ["Step count differs: 1 vs 2", "Step at index 1: missing in first shape (second has 'b')"]


def ensure(conn: psycopg.Connection, shape: dict[str, Any], **options: bool) -> Any:
    named = "".join(f", {name} => {on}" for name, on in options.items())
    return value(conn, f"select pgflow.ensure_flow_compiled('flow', %s{named})", Jsonb(shape))


def stored(conn: psycopg.Connection) -> list[str]:
    return [slug for (slug,) in rows(conn, "select step_slug from pgflow.steps order by step_index")]


def make_local(conn: psycopg.Connection) -> None:
    secret = "super-secret-jwt-token-with-at-least-32-characters-long"
    conn.execute("select set_config('app.settings.jwt_secret', %s, false)", (secret,))


@pytest.mark.parametrize("shape", [SHAPE, FULL])
def test_a_missing_flow_is_compiled(trial: psycopg.Connection, shape: dict[str, Any]) -> None:
    assert ensure(trial, shape) == {"status": "compiled", "differences": []}
    assert value(trial, "select pgflow._get_flow_shape('flow')") == FULL
    assert value(trial, "select count(*) from pgmq.q_flow") == 0


def test_the_same_shape_is_verified_and_keeps_its_data(trial: psycopg.Connection) -> None:
    ensure(trial, FULL)
    start(trial, "flow")
    assert ensure(trial, FULL) == {"status": "verified", "differences": []}
    assert ensure(trial, FULL, allow_data_loss=True) == {"status": "verified", "differences": []}
    assert value(trial, "select count(*) from pgflow.runs") == 1


def test_other_options_are_no_difference_and_change_nothing(trial: psycopg.Connection) -> None:
    ensure(trial, {**FULL, "options": {"timeout": 7}})
    assert ensure(trial, {**FULL, "options": {"timeout": 8}})["status"] == "verified"
    assert value(trial, "select opt_timeout from pgflow.flows") == 7


def test_a_flow_made_step_by_step_is_verified(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    trial.execute("select pgflow.add_step('flow', 'b', '{a}', step_type => 'map')")
    assert ensure(trial, FULL)["status"] == "verified"


def test_a_different_shape_is_a_mismatch_and_changes_nothing(trial: psycopg.Connection) -> None:
    ensure(trial, FULL)
    start(trial, "flow")
    assert ensure(trial, OTHER) == {"status": "mismatch", "differences": DIFFERENCES}
    assert stored(trial) == ["a", "b"]
    assert value(trial, "select count(*) from pgflow.runs") == 1


def test_where_data_may_be_lost_the_flow_is_recompiled(trial: psycopg.Connection) -> None:
    ensure(trial, FULL)
    start(trial, "flow")
    assert ensure(trial, OTHER, allow_data_loss=True) == {"status": "recompiled", "differences": DIFFERENCES}
    assert stored(trial) == ["a"]
    assert value(trial, "select count(*) from pgflow.runs") == 0
    assert value(trial, "select count(*) from pgmq.q_flow") == 0


def test_a_local_flow_is_recompiled(trial: psycopg.Connection) -> None:
    ensure(trial, FULL)
    make_local(trial)
    assert ensure(trial, OTHER) == {"status": "recompiled", "differences": DIFFERENCES}
    assert stored(trial) == ["a"]


def test_recompiling_takes_the_new_options(trial: psycopg.Connection) -> None:
    ensure(trial, FULL)
    ensure(trial, {**OTHER, "options": {"timeout": 7}}, allow_data_loss=True)
    assert value(trial, "select opt_timeout from pgflow.flows") == 7


def test_it_holds_the_advisory_lock_of_class_1_until_the_transaction_ends(trial: psycopg.Connection) -> None:
    ensure(trial, FULL)
    assert rows(
        trial,
        """select mode, granted from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and objsubid = 2
           and classid = 1 and objid = (hashtext('flow')::bigint & 4294967295)::oid""",
    ) == [("ExclusiveLock", True)]


def test_a_second_caller_waits_for_the_first_and_verifies(dsn: str, conn: psycopg.Connection) -> None:
    def ensure_elsewhere() -> Any:
        with psycopg.connect(dsn, application_name="second") as second:
            return ensure(second, FULL)

    def is_waiting() -> Any:
        return value(
            conn, "select count(*) from pg_stat_activity where application_name = 'second' and wait_event = 'advisory'"
        )

    with psycopg.connect(dsn) as first, ThreadPoolExecutor(1) as pool:
        assert ensure(first, FULL)["status"] == "compiled"
        second = pool.submit(ensure_elsewhere)
        eventually(is_waiting)
        first.commit()
        assert second.result() == {"status": "verified", "differences": []}
