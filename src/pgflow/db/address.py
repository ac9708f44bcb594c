"""Where the database is: the address given, or the embedded server's."""

from __future__ import annotations

import re
import select
import sys
from functools import cache
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, Connection, ProgrammingError
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow import embedded
from pgflow.config import Settings, SettingsError

#: What a connection gets unless its address says otherwise. A silent network is noticed within half a minute.
_DEFAULTS: dict[str, Any] = {
    "application_name": "pgflow",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


_SCHEMES = ("postgresql", "postgres")
#: In front of "://"; what comes before it in "password=a://b" is none.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class Address:
    """A database's address; holds the embedded server open where that is what it leads to.

    address = Address.of(load())
    address.dsn, address.is_embedded
    address.close()
    """

    def __init__(self, dsn: str, server: embedded.Server | None = None, *, name: str = "argument") -> None:
        self.dsn = make_conninfo(**{**_DEFAULTS, **_parts(dsn, name)})
        self._server = server

    @classmethod
    def of(cls, settings: Settings) -> Address:
        """The address that the settings lead to; starts the embedded server if they name none."""
        if settings.dsn is not None:
            return cls(settings.dsn, name=settings.source("dsn"))
        server = embedded.start(settings.embedded_dir)
        _say_embedded(server.directory)
        return cls(server.dsn, server)

    @property
    def is_embedded(self) -> bool:
        return self._server is not None

    def close(self) -> None:
        """Gives up the embedded server, if it is one."""
        if self._server is not None:
            self._server.close()


@cache
def _say_embedded(directory: Path) -> None:
    """Once per process and directory: every client and worker without an address comes here."""
    print(f"pgflow: no database given, using the embedded one in {directory}", file=sys.stderr)  # noqa: T201


def _parts(dsn: str, name: str) -> dict[str, Any]:
    """What an address says. One that cannot be right is refused, and not shown if it may hold a password: special
    characters that were not escaped put pieces of it anywhere."""
    is_secret = "://" in dsn or "@" in dsn or "password" in dsn.lower()
    scheme = _SCHEME.match(dsn)
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError as error:
        fault = str(error).strip()
        if scheme is not None and scheme[1] not in _SCHEMES:
            fault = f"its scheme is {scheme[1]}, not postgresql"
        elif is_secret:
            fault = re.sub('".*"', '"…"', fault, flags=re.DOTALL)
    else:
        ports = str(parts.get("port", "")).split(",")
        if "@" in str(parts.get("host", ""))[1:]:  # in front it is an abstract socket's
            fault = "its host has an @ in it"
        elif not all(port.isdigit() for port in ports if port):
            fault = "its port is no number"
        else:
            return parts
    shown = name if name != "argument" else "this" if is_secret else repr(dsn)
    raise SettingsError(
        f"{shown} is no address of a database ({fault}): expected "
        "postgresql://user@host:5432/database, special characters in a password written as %40 and the like"
    )


class _RawJson(Loader):
    """JSON as bytes: decoded once, by whoever knows its type."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


def prepare(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """Sets a fresh connection up the way `calls` expects it."""
    connection.adapters.register_loader("jsonb", _RawJson)
    connection.adapters.register_loader("json", _RawJson)


def has_input(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether something has come that was not read yet; asked of one that is not closed."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def has_ended(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether an idle connection was lost: nothing but the server's farewell, or the network's, comes unasked."""
    return connection.closed or has_input(connection)
