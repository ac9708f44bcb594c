"""Around handlers: Django's connections are looked after, as they are around requests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections, reset_queries

Handler = Callable[..., Any]


def fresh_connections(handler: Handler) -> Handler:
    """No handler meets a connection that has died or is older than CONN_MAX_AGE, and none leaves one behind.

        Worker([shipping], dsn=dsn(), middleware=fresh_connections)

    Plain handlers keep their thread's connection for the next one, within CONN_MAX_AGE. An `async def` handler has a
    thread of its own for the ORM, as a request has under ASGI, whose connection is closed when it ends.
    """
    return _async(handler) if inspect.iscoroutinefunction(handler) else _plain(handler)


def _plain(handler: Handler) -> Handler:
    @wraps(handler)
    def within(**arguments: Any) -> Any:
        reset_queries()
        close_old_connections()
        try:
            return handler(**arguments)
        finally:
            close_old_connections()

    return within


def _async(handler: Handler) -> Handler:
    @wraps(handler)
    async def within(**arguments: Any) -> Any:
        async with ThreadSensitiveContext():
            try:
                return await handler(**arguments)
            finally:
                await sync_to_async(connections.close_all)()

    return within
