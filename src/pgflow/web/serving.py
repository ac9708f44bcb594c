"""`pgflow dashboard` as a server: who may ask for what, the socket, and an end without a trace of Ctrl-C."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pgflow.client import AsyncClient
from pgflow.config import SettingsError
from pgflow.web.app import application
from pgflow.web.guards import Password

#: Seconds that pages under way get when the server ends.
_GRACE = 2


async def serve(
    dsn: str | None, host: str, port: int, *, read_only: bool, password: str | None, say: Callable[[str], None]
) -> None:
    """Serves the dashboard until SIGINT or SIGTERM; `say` is given its address once it listens.

    Raises SettingsError for a host that others can reach without a password, or a port that cannot be had;
    DatabaseUnreachable and SchemaError before it listens.
    """
    if not password and not _is_loopback(host):
        raise SettingsError(
            f"others can reach {host}, and the dashboard has no other login than a password: set "
            "PGFLOW_DASHBOARD_PASSWORD, or leave --host away"
        )
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=_names(host), www_redirect=False)]
    if password:
        guards.append(Middleware(Password, password=password))
    async with AsyncClient(dsn) as client:
        with _listening(host, port) as listener:
            server = _Server(application(client, read_only=read_only, guards=guards))
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
            say(f"http://{_in_url(host)}:{listener.getsockname()[1]}/")
            await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are ours: uvicorn would raise them once more when it has ended."""
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(host, port, error) from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        yield listener


def _cannot_listen(host: str, port: int, error: Exception) -> SettingsError:
    reason = error.strerror if isinstance(error, OSError) else error
    return SettingsError(f"cannot listen at {_in_url(host)}:{port} ({reason}): give another --port, or --host")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names(host: str) -> list[str]:
    """What browsers may call us: another name that leads here would let its owner's pages read ours (DNS rebinding)."""
    if _is_loopback(host):
        return ["localhost", "127.0.0.1", "[::1]", _in_url(host)]
    is_any = host in ("0.0.0.0", "::")  # noqa: S104  # whatever our names are, their owners do not know the password
    return ["*"] if is_any else [_in_url(host)]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
