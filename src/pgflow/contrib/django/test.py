"""For tests of flows with Django's database."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import connections

from pgflow.cli.flows import find_function
from pgflow.contrib.django import conf
from pgflow.contrib.django.address import connection, dsn
from pgflow.contrib.django.discovery import project_flows
from pgflow.contrib.django.middleware import fresh_connections
from pgflow.flow import Flow, Handlers
from pgflow.testing.draining import work_off as drain


def work_off(*flows: Flow[Any, Any] | Handlers, **options: Any) -> None:
    """Works on these flows, or on all of the project's, until nothing of theirs is due.

        class ShippingTest(TransactionTestCase):
            def test_it_is_shipped(self):
                self.client.post("/orders", {"item": "cup"})
                work_off()
                self.assertTrue(Order.objects.get().shipped)

    `options` are those of a Worker, and `timeout` (60 s); the lifespan is the project's. Raises RuntimeError in a
    TestCase, whose transaction no worker sees into; TimeoutError.
    """
    if connection().in_atomic_block:
        raise RuntimeError("a worker sees nothing of a TestCase's transaction: use TransactionTestCase, or run_inline")
    named = conf.read().worker.get("lifespan")
    lifespan = find_function(named) if named is not None else None
    served = flows or project_flows()
    drain(dsn(), *served, **{"middleware": _leaving_nothing, "lifespan": lifespan, **options})


def _leaving_nothing(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Django can drop a test's database only when nobody is connected to it."""
    if inspect.iscoroutinefunction(handler):
        return fresh_connections(handler)

    @wraps(handler)
    def within(**arguments: Any) -> Any:
        try:
            return handler(**arguments)
        finally:
            connections.close_all()

    return within
