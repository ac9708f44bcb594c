"""pgflow.create_flow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.errors import NotNullViolation

from tests.sql.flows import call, create_flow, raises, violates
from tests.support import rows, value


def test_it_returns_the_stored_flow(trial: psycopg.Connection) -> None:
    [flow] = call(trial, "create_flow", flow_slug="flow", max_attempts=7, base_delay=8, timeout=9)
    assert rows(trial, "select * from pgflow.flows") == [tuple(flow.values())]
    assert (flow["flow_slug"], flow["opt_max_attempts"], flow["opt_base_delay"], flow["opt_timeout"]) == (
        "flow", 7, 8, 9,
    )  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"max_attempts": None, "base_delay": None, "timeout": None}])
def test_options_default_to_3_5_and_60(trial: psycopg.Connection, options: dict[str, None]) -> None:
    [flow] = call(trial, "create_flow", flow_slug="flow", **options)
    assert (flow["opt_max_attempts"], flow["opt_base_delay"], flow["opt_timeout"]) == (3, 5, 60)


def test_zeros_are_no_defaults(trial: psycopg.Connection) -> None:
    [flow] = call(trial, "create_flow", flow_slug="flow", max_attempts=0, base_delay=0)
    assert (flow["opt_max_attempts"], flow["opt_base_delay"]) == (0, 0)


def test_it_creates_the_queue_of_the_same_name(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    assert rows(trial, "select queue_name, is_partitioned, is_unlogged from pgmq.list_queues()") == [
        ("flow", False, False)
    ]
    assert value(trial, "select count(*) from pgmq.q_flow") == 0
    assert value(trial, "select count(*) from pgmq.a_flow") == 0


def test_a_mixed_case_flow_works_through_its_lower_cased_queue(trial: psycopg.Connection) -> None:
    create_flow(trial, "MyFlow", "a")
    trial.execute("select pgflow.start_flow('MyFlow', '{}')")
    assert value(trial, "select count(*) from pgmq.q_myflow") == 1
    assert value(trial, "select count(*) from pgmq.read('MyFlow', 1, 10)") == 1


def test_an_existing_flow_is_returned_unchanged(trial: psycopg.Connection) -> None:
    [first] = call(trial, "create_flow", flow_slug="flow", max_attempts=7)
    [second] = call(trial, "create_flow", flow_slug="flow", max_attempts=1, base_delay=1, timeout=1)
    assert second == first
    assert rows(trial, "select * from pgflow.flows") == [tuple(first.values())]


def test_an_existing_flow_keeps_its_messages(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow", "a")
    trial.execute("select pgflow.start_flow('flow', '{}')")
    create_flow(trial, "flow")
    assert value(trial, "select count(*) from pgmq.q_flow") == 1


def test_a_missing_queue_of_an_existing_flow_is_made(trial: psycopg.Connection) -> None:
    create_flow(trial, "flow")
    trial.execute("select pgmq.drop_queue('flow')")
    create_flow(trial, "flow")
    assert value(trial, "select count(*) from pgmq.q_flow") == 0


def test_an_existing_queue_is_taken_over(trial: psycopg.Connection) -> None:
    trial.execute("select pgmq.create('flow')")
    trial.execute("select pgmq.send('flow', '{}')")
    create_flow(trial, "flow")
    assert value(trial, "select count(*) from pgmq.q_flow") == 1


@pytest.mark.parametrize("slug", ["", "run", "1a", "a-b", "x" * 129])
def test_a_bad_slug_is_refused_by_the_constraint(trial: psycopg.Connection, slug: str) -> None:
    with violates("slug_is_valid"):
        create_flow(trial, slug)


def test_no_slug_is_refused(trial: psycopg.Connection) -> None:
    with pytest.raises(NotNullViolation):
        trial.execute("select pgflow.create_flow(null)")


@pytest.mark.parametrize(
    ("constraint", "options"),
    [
        ("opt_max_attempts_is_nonnegative", {"max_attempts": -1}),
        ("opt_base_delay_is_nonnegative", {"base_delay": -1}),
        ("opt_timeout_is_positive", {"timeout": 0}),
    ],
)
def test_bad_options_are_refused_by_the_constraint(
    trial: psycopg.Connection, constraint: str, options: dict[str, int]
) -> None:
    with violates(constraint):
        create_flow(trial, "flow", **options)


def test_a_refused_flow_leaves_no_queue(conn: psycopg.Connection) -> None:
    with violates("opt_timeout_is_positive"):
        create_flow(conn, "flow", timeout=0)
    assert rows(conn, "select queue_name from pgmq.list_queues()") == []


def test_a_slug_of_47_characters_is_a_queue_name(trial: psycopg.Connection) -> None:
    create_flow(trial, "x" * 47, "a")
    trial.execute("select pgflow.start_flow(%s, '{}')", ("x" * 47,))
    assert value(trial, "select count(*) from pgmq.read(%s, 1, 10)", "x" * 47) == 1


def test_a_slug_of_48_characters_is_refused_with_the_reason(trial: psycopg.Connection) -> None:
    slug = "x" * 48
    with raises(
        f'Flow slug "{slug}" is too long for a queue name: 48 characters, at most 47 are allowed', sqlstate="23514"
    ):
        create_flow(trial, slug)


def test_a_slug_that_differs_only_in_case_is_refused_with_the_reason(trial: psycopg.Connection) -> None:
    create_flow(trial, "MyFlow")
    with raises(
        'Flow slug "myflow" differs only in case from flow "MyFlow", '
        "and both would share one queue: choose another slug",
        sqlstate="23505",
    ):
        create_flow(trial, "myflow")


def test_ten_callers_at_once_make_one_flow(dsn: str, conn: psycopg.Connection) -> None:
    def create(_: int) -> str:
        with psycopg.connect(dsn) as each:
            return str(call(each, "create_flow", flow_slug="flow")[0]["flow_slug"])

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(create, range(10))) == ["flow"] * 10
    assert value(conn, "select count(*) from pgflow.flows") == 1
