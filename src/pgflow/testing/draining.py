"""A worker for tests: it works what is due, and returns."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgflow.flow import Flow, Handlers
from pgflow.worker import Worker

#: Seconds; a test has no use for a worker that cannot end.
_GRACE = 1.0


def work_off(dsn: str, *flows: Flow[Any, Any] | Handlers, timeout: float = 60.0, **options: Any) -> None:
    """Works on the flows until nothing of theirs is due any more; `options` are those of a Worker.

    Also where an event loop runs already, which waits meanwhile. Raises TimeoutError after `timeout` seconds.
    """

    async def drain() -> None:
        async with asyncio.timeout(timeout), Worker(flows, dsn=dsn, **{"grace": _GRACE, **options}) as worker:
            await worker.drained()

    with ThreadPoolExecutor(1, thread_name_prefix="pgflow-worker") as thread:
        thread.submit(asyncio.run, drain()).result()
