"""A network that fails at the worst moment: while a transaction commits."""

from __future__ import annotations

import asyncio
from typing import Literal, TypeAlias, cast

from tests.faults.proxy import Proxy

CommitFault: TypeAlias = Literal["lost", "unanswered"]
_COMMIT = b"Q\0\0\0\x0bCOMMIT\0"


class CommitCutter(Proxy):
    """Told to, it ends a connection whose client says COMMIT: before the server hears it, or before it answers."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.fault: CommitFault | None = None
        self.cuts = 0

    def cut_next(self, fault: CommitFault) -> None:
        self.fault = fault

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._forward(cast("asyncio.StreamReader", _Overheard(self, reader, writer)), writer)


class _Overheard:
    """What a client says, as far as the server is to hear it."""

    def __init__(self, cutter: CommitCutter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._cutter = cutter
        self._reader = reader
        self._writer = writer

    async def read(self, size: int) -> bytes:
        data = await self._reader.read(size)
        fault = self._cutter.fault
        if fault is None or not data.endswith(_COMMIT):
            return data
        self._cutter.fault = None
        self._cutter.cuts += 1
        self._writer.transport.abort()  # whatever the server answers reaches nobody
        return data if fault == "unanswered" else b""
