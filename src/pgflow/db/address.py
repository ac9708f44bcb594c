"""Where the database is: the address given, or the embedded server's."""

from __future__ import annotations

import sys
from typing import Any

from psycopg import AsyncConnection, Connection, ProgrammingError
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow import embedded
from pgflow.config import Settings, SettingsError, mask_password

#: What a connection gets unless its address says otherwise. A silent network is noticed within half a minute.
_DEFAULTS: dict[str, Any] = {
    "application_name": "pgflow",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


class Address:
    """A database's address; holds the embedded server open where that is what it leads to.

    address = Address.of(load())
    address.dsn, address.is_embedded
    address.close()
    """

    def __init__(self, dsn: str, server: embedded.Server | None = None) -> None:
        try:
            self.dsn = make_conninfo(**{**_DEFAULTS, **conninfo_to_dict(dsn)})
        except ProgrammingError as error:
            raise SettingsError(
                f"{mask_password(dsn)!r} is no address of a database ({str(error).strip()}): "
                "expected postgresql://user@host:5432/database"
            ) from error
        self._server = server

    @classmethod
    def of(cls, settings: Settings) -> Address:
        """The address that the settings lead to; starts the embedded server if they name none."""
        if settings.dsn is not None:
            return cls(settings.dsn)
        server = embedded.start(settings.embedded_dir)
        print(f"pgflow: no database given, using the embedded one in {server.directory}", file=sys.stderr)  # noqa: T201
        return cls(server.dsn, server)

    @property
    def is_embedded(self) -> bool:
        return self._server is not None

    def close(self) -> None:
        """Gives up the embedded server, if it is one."""
        if self._server is not None:
            self._server.close()


class _RawJson(Loader):
    """JSON as bytes: decoded once, by whoever knows its type."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


def prepare(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """Sets a fresh connection up the way `calls` expects it."""
    connection.adapters.register_loader("jsonb", _RawJson)
    connection.adapters.register_loader("json", _RawJson)
