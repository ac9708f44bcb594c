"""A network that fails on demand: a TCP proxy in front of a PostgreSQL.

async with Proxy(dsn) as proxy:
    async with AsyncClient(proxy.dsn) as client: ...
    proxy.silence()          # nothing comes through, and nobody says so
    proxy.heal()
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: A socket filter of one instruction, "keep 0 bytes": the kernel drops every packet before TCP sees it. A proxy that
#: merely stopped reading would be no silent network, since its kernel would go on acknowledging.
_SO_ATTACH_FILTER = 26
_KEEP_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
_FILTER = struct.pack("HP", 1, ctypes.addressof(_KEEP_NOTHING))
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards bytes between clients and the server at `dsn`, which may be a Unix socket; `dsn` leads through it."""

    def __init__(self, dsn: str) -> None:
        self._target = conninfo_to_dict(dsn)
        self._original = dsn
        self._links: set[_Link] = set()
        self._listener: asyncio.Server | None = None
        self._port = 0
        self._is_silent = False
        self.latency = 0.0  #: seconds that each packet takes longer

    @property
    def dsn(self) -> str:
        return make_conninfo(self._original, host="127.0.0.1", port=self._port)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.refuse()
        while self._links:
            await asyncio.wait({link.task for link in self._links})

    def reset(self) -> None:
        """Ends every connection by RST."""
        for link in self._links:
            link.reset()

    def refuse(self) -> None:
        """Ends every connection, and accepts none."""
        self.reset()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def silence(self) -> None:
        """Drops every packet of its clients, those of new connections too."""
        self._is_silent = True
        for link in self._links:
            _drop_packets(link.client)
        for listening in self._listener.sockets if self._listener else ():
            _drop_packets(listening)

    async def heal(self) -> None:
        """Everything works again; connections that were silent have ended."""
        if self._is_silent:
            self._is_silent = False
            self.refuse()
        if self._listener is None:
            await self._listen()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link(writer.get_extra_info("socket"), task)
        self._links.add(link)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._links.discard(link)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await self._connect()
        try:
            pumps = {
                asyncio.create_task(self._pump(reader, to_server)),
                asyncio.create_task(self._pump(from_server, writer)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            to_server.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self._target.get("host")), int(self._target.get("port") or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.latency:
                await asyncio.sleep(self.latency)
            writer.write(data)
            await writer.drain()


class _Link:
    """One connection of a client's."""

    def __init__(self, client: asyncio.trsock.TransportSocket, task: asyncio.Task[None]) -> None:
        self.client = client
        self.task = task

    def reset(self) -> None:
        with suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.task.cancel()


def _drop_packets(sock: asyncio.trsock.TransportSocket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _FILTER)
