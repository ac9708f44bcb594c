"""A client that works on Django's own connection, as a model does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from django.db import Error
from django.db.transaction import TransactionManagementError

from pgflow.calls import Call
from pgflow.client import Client
from pgflow.config import load
from pgflow.contrib.django.address import connection as djangos_connection
from pgflow.contrib.django.address import dsn
from pgflow.db import Database, callers
from pgflow.db.address import Address
from pgflow.db.errors import translated
from pgflow.flow.flow import Out
from pgflow.records import Run

T = TypeVar("T")


@cache
def client() -> Client:
    """The project's client: what it does is part of the transaction that is open on Django's connection.

        client().start(shipping, {"order": order.pk})

    Inside `transaction.atomic`, or with ATOMIC_REQUESTS, a run exists if and only if the block commits; outside it is
    there at once. It opens nothing before it is used, has no pool, and any thread may use it. `wait` and `events`
    listen on a connection of their own; `wait` inside an atomic block raises TransactionManagementError, since no
    worker sees what is not committed.
    """
    return _DjangoClient()


class _DjangoClient(Client):
    def __init__(self) -> None:
        self._use(_DjangosDatabase())

    def _start(self, *arguments: Any) -> list[Run]:
        if arguments[-1] is not None:
            return super()._start(*arguments)
        with _ours() as connection:
            return super()._start(*(*arguments[:-1], connection))

    def wait(self, run: Run[Out] | UUID | str, *, timeout: float | None = None) -> Run[Out]:
        if djangos_connection().in_atomic_block:
            raise TransactionManagementError(
                "wait: a transaction is open, and workers see nothing of it before it is committed: "
                "wait after the atomic block"
            )
        return super().wait(run, timeout=timeout)


class _DjangosDatabase(Database):
    """Has no pool: Django opens, checks and closes the connection, one per thread."""

    def __init__(self) -> None:
        super().__init__(load())

    @property
    def dsn(self) -> str:
        return Address(dsn()).dsn

    @property
    def is_closed(self) -> bool:
        return False

    def open(self) -> None: ...

    def run(self, call: Call[T]) -> T:
        with _ours() as connection:
            return callers.run(connection, call)


@contextmanager
def _ours() -> Iterator[Any]:
    """Django's connection; its errors are raised as ours, and one that is dead is given up."""
    connection = djangos_connection()
    try:
        yield connection
    except Error as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.Error):
            raise
        connection.close_if_unusable_or_obsolete()
        with translated(dsn()):
            raise cause from None
