"""set_vt_batch: many messages of any queue, each with its own visibility."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.sql.flows import create_flow, start, step, visible_in
from tests.support import rows, value


def send(conn: psycopg.Connection, queue: str, *messages: str) -> list[int]:
    """Creates a queue that is no flow's, with these messages."""
    conn.execute("select pgmq.create(%s)", (queue,))
    return [value(conn, "select pgmq.send(%s, %s::jsonb)", queue, message) for message in messages]


def set_vt(conn: psycopg.Connection, queue: str, msg_ids: Any, offsets: Any) -> list[tuple[Any, ...]]:
    return rows(
        conn, "select * from pgflow.set_vt_batch(%s, %s::bigint[], %s::int[]) order by msg_id", queue, msg_ids, offsets
    )


def test_each_message_gets_its_own_offset_from_now(conn: psycopg.Connection) -> None:
    a, b, c = send(conn, "any", "1", "2", "3")
    set_vt(conn, "any", [c, a, b], [300, 100, -50])
    assert [round(visible_in(conn, "any", m), -1) for m in (a, b, c)] == [100, -50, 300]


def test_it_works_on_the_queue_of_a_flow_in_any_case(conn: psycopg.Connection) -> None:
    create_flow(conn, "MyFlow", "a")
    start(conn, "MyFlow")
    msg_id = value(conn, "select message_id from pgflow.step_tasks")
    assert len(set_vt(conn, "MyFlow", [msg_id], [90])) == 1
    assert 80 < visible_in(conn, "MyFlow", msg_id) <= 90


def test_it_returns_one_whole_row_per_message_found(conn: psycopg.Connection) -> None:
    a, b = send(conn, "any", '{"n": 1}', '{"n": 2}')
    found = set_vt(conn, "any", [b, 999, a], [10, 10, 10])
    stored = rows(conn, "select msg_id, read_ct, enqueued_at, vt, message from pgmq.q_any order by msg_id")
    assert [row[:5] for row in found] == stored
    assert [row[4] for row in found] == [{"n": 1}, {"n": 2}]


def test_its_columns_bear_the_contracts_names(conn: psycopg.Connection) -> None:
    (msg_id,) = send(conn, "any", "1")
    found = conn.execute("select * from pgflow.set_vt_batch('any', %s, '{1}')", ([msg_id],)).description
    assert found is not None
    assert [column.name for column in found] == ["msg_id", "read_ct", "enqueued_at", "vt", "message", "headers"]


def test_all_but_the_visibility_is_unchanged(conn: psycopg.Connection) -> None:
    (msg_id,) = send(conn, "any", '{"n": 1}')
    conn.execute("select pgmq.read('any', 0, 1)")
    before = rows(conn, "select to_jsonb(q) - 'vt' from pgmq.q_any q")
    set_vt(conn, "any", [msg_id], [10])
    assert rows(conn, "select to_jsonb(q) - 'vt' from pgmq.q_any q") == before
    assert value(conn, "select read_ct from pgmq.q_any") == 1


def test_other_messages_are_left_alone(conn: psycopg.Connection) -> None:
    a, b = send(conn, "any", "1", "2")
    before = value(conn, "select vt from pgmq.q_any where msg_id = %s", b)
    set_vt(conn, "any", [a], [10])
    assert value(conn, "select vt from pgmq.q_any where msg_id = %s", b) == before


def test_headers_are_returned_where_a_message_has_some(conn: psycopg.Connection) -> None:
    a, b = send(conn, "any", "1", "2")
    conn.execute("alter table pgmq.q_any add column if not exists headers jsonb")
    conn.execute("""update pgmq.q_any set headers = '{"x": 1}' where msg_id = %s""", (a,))
    assert [row[5] for row in set_vt(conn, "any", [a, b], [1, 1])] == [{"x": 1}, None]
    headers_are_null = "select headers is null from pgflow.set_vt_batch('any', %s, '{1}')"
    assert value(conn, headers_are_null, [b]) is True


def test_headers_are_null_where_pgmq_has_no_such_column(conn: psycopg.Connection) -> None:
    (msg_id,) = send(conn, "any", "1")
    conn.execute("alter table pgmq.q_any drop column if exists headers")
    assert value(conn, "select headers is null from pgflow.set_vt_batch('any', %s, '{1}')", [msg_id]) is True


@pytest.mark.parametrize(("msg_ids", "offsets"), [(None, None), (None, [1]), ([1], None), ([], [])])
def test_null_or_empty_arrays_give_no_rows(conn: psycopg.Connection, msg_ids: Any, offsets: Any) -> None:
    send(conn, "any", "1")
    assert set_vt(conn, "any", msg_ids, offsets) == []


def test_arrays_of_different_lengths_are_refused(conn: psycopg.Connection) -> None:
    a, b = send(conn, "any", "1", "2")
    with pytest.raises(psycopg.errors.RaiseException) as refused:
        set_vt(conn, "any", [a, b], [1])
    assert refused.value.diag.message_primary == "msg_ids length (2) must equal vt_offsets length (1)"
    assert refused.value.sqlstate == "P0001"


def test_an_unknown_queue_is_postgres_own_error(conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable, match=r'relation "pgmq\.q_unknown" does not exist') as refused:
        set_vt(conn, "unknown", [1], [1])
    assert refused.value.sqlstate == "42P01"


def test_archived_messages_are_passed_over(conn: psycopg.Connection) -> None:
    a, b = send(conn, "any", "1", "2")
    conn.execute("select pgmq.archive('any', %s::bigint)", (a,))
    assert [row[0] for row in set_vt(conn, "any", [a, b], [1, 1])] == [b]


def test_hidden_messages_are_changed_too(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("a", start_delay=1000))
    start(conn, "flow")
    msg_id = value(conn, "select message_id from pgflow.step_tasks")
    set_vt(conn, "flow", [msg_id], [0])
    assert visible_in(conn, "flow", msg_id) <= 0
