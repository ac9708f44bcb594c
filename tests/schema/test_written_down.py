"""What the schema is, in a file: a change of it is seen in review, and is the same on every version of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.schema.catalog import description
from tests.schema.dump import PATH

_CHANGES = [
    "alter table pgflow.runs add more text",
    "alter table pgflow.runs alter remaining_steps drop not null",
    "alter table pgflow.runs alter remaining_steps set default 1",
    "alter table pgflow.runs set (fillfactor = 50)",
    "alter table pgflow.worker_functions set unlogged",
    "alter table pgflow.runs drop constraint completed_at_or_failed_at",
    "drop index pgflow.runs_by_start",
    "create trigger every before update on pgflow.runs execute function suppress_redundant_updates_trigger()",
    "grant select on pgflow.runs to public",
    "grant usage on schema pgflow to public",
    "create type pgflow.mood as enum ('good', 'bad')",
    "alter type pgflow.step_key add attribute more int",
    "drop view pgflow._worker_holds",
    "drop function pgflow.is_local()",
    "alter function pgflow.is_local() volatile",
    "alter function pgflow.is_local() security definer",
    "alter function pgflow.is_local() reset all",
    "create function pgflow.is_local(more int) returns boolean return true",
]


@pytest.fixture
def conn(installed_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(installed_dsn, autocommit=True) as connection:
        yield connection


def test_a_fresh_install_is_what_is_written_down(conn: psycopg.Connection) -> None:
    if description(conn) != PATH.read_text(encoding="utf-8"):
        pytest.fail("the schema is no longer what tests/schema/schema.txt says: run `make schema`", pytrace=False)


def test_every_kind_of_change_shows(conn: psycopg.Connection) -> None:
    before = description(conn)
    for change in _CHANGES:
        with conn.transaction(force_rollback=True):
            conn.execute(change)
            assert description(conn) != before, change


def test_the_order_in_which_columns_were_added_does_not_show(conn: psycopg.Connection) -> None:
    conn.execute("alter table pgflow.worker_functions add a int, add b int")
    one = description(conn)
    conn.execute("alter table pgflow.worker_functions drop a, drop b")
    conn.execute("alter table pgflow.worker_functions add b int, add a int")
    assert description(conn) == one
