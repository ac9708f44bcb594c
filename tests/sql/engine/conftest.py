"""What the tests of the engine share."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.sql.engine.work import Heard


@pytest.fixture
def heard(dsn: str) -> Iterator[Heard]:
    """What was notified since the last call: (channel, payload), sorted."""
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_work")
        listener.execute("listen pgflow_run")

        def take() -> list[tuple[str, str]]:
            listener.execute("select pg_notify('pgflow_run', 'end')")  # sent after all that was committed before
            received = []
            for note in listener.notifies():
                if note.payload == "end":
                    break
                received.append((note.channel, note.payload))
            return sorted(received)

        yield take
