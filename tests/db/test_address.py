"""What a connection gets unless its address says otherwise, as the kernel has it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow.config import load
from pgflow.db import Database
from tests.faults.proxy import Proxy

TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
KEPT_ALIVE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None)): 10,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 5,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
    (socket.IPPROTO_TCP, TCP_USER_TIMEOUT): 25_000,
}
pytestmark = pytest.mark.skipif(TCP_USER_TIMEOUT is None, reason="this system has no TCP user timeout")


def _options(dsn: str) -> dict[tuple[int, int], int]:
    """The socket's options, of a connection of the pool and of one of one's own (for LISTEN); they must not differ."""
    with Database(load(dsn=dsn)) as database, database.connect() as own, database._connection() as pooled:
        found = []
        for connection in (own, pooled):
            with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
                found.append({option: sock.getsockopt(*option) for option in KEPT_ALIVE})
    assert found[0] == found[1]
    return found[0]


async def test_a_network_that_fell_silent_is_noticed_within_half_a_minute(dsn: str) -> None:
    async with Proxy(dsn) as network:
        options = await _in_thread(network.dsn)
    assert options == KEPT_ALIVE
    with Database(load(dsn=dsn)) as database:
        assert conninfo_to_dict(database.dsn)["connect_timeout"] == "10"


async def test_an_address_may_say_otherwise(dsn: str) -> None:
    async with Proxy(dsn) as network:
        options = await _in_thread(make_conninfo(network.dsn, tcp_user_timeout=7000, keepalives_count=9))
    changed = {(socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 9, (socket.IPPROTO_TCP, TCP_USER_TIMEOUT): 7000}
    assert options == KEPT_ALIVE | changed


async def _in_thread(dsn: str) -> dict[tuple[int, int], int]:
    """Beside the proxy, which is on the loop."""
    return await asyncio.to_thread(_options, dsn)
