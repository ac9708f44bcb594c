"""docs/how-to/exactly-once-database-work.md: its bank, in a test and with a worker."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Worker
from tests.support import rows

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "exactly-once-database-work.md").read_text()
BANK, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(dsn: str, conn: psycopg.Connection) -> Iterator[dict[str, Any]]:
    """The page's module, and two accounts."""
    conn.execute("create table accounts (owner text primary key, cents bigint)")
    conn.execute("insert into accounts values ('ann', 100), ('bob', 0)")
    module = types.ModuleType("bank_example")
    module.DSN = dsn  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    exec(BANK, module.__dict__)  # noqa: S102  # our own page
    yield module.__dict__
    del sys.modules[module.__name__]


async def test_the_bank_transfers_once(dsn: str, conn: psycopg.Connection, example: dict[str, Any]) -> None:
    bank, order = example["bank"], example["Order"]
    async with Worker([bank], dsn=dsn), AsyncClient(dsn) as client:
        done = await client.start(bank, order(payer="ann", payee="bob", cents=30))
        assert (await client.wait(done, timeout=30)).output == {"transfer": 70}
        refused = await client.start(bank, order(payer="bob", payee="ann", cents=31))
        assert (await client.wait(refused, timeout=30)).error == "Permanent: bob has not got 31 cents"
    assert rows(conn, "select * from accounts order by owner") == [("ann", 70), ("bob", 30)]


def test_its_test_passes_and_leaves_nothing(conn: psycopg.Connection, example: dict[str, Any]) -> None:
    exec(TEST, example)  # noqa: S102
    assert rows(conn, "select * from accounts order by owner") == [("ann", 100), ("bob", 0)]
