"""One database for all these tests, emptied after each: making and dropping one costs more than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import _database

_EMPTY = """
select pgflow.delete_flow_and_data(flow_slug) from pgflow.flows;
select pgmq.drop_queue(queue_name) from pgmq.list_queues();
delete from pgflow.workers;
delete from pgflow.worker_functions;
update pgflow.outage set grace_until = '-infinity';
drop schema if exists realtime cascade;
"""


@pytest.fixture(scope="session")
def shared_dsn(server: str, _template: str) -> Iterator[str]:
    """The database behind `conn`: for a second connection."""
    with _database(server, template=_template) as dsn:
        yield dsn


@pytest.fixture
def conn(shared_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection in autocommit to an empty database; what replaces functions or adds schemas takes `dsn`."""
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        yield connection
        connection.execute(_EMPTY)
