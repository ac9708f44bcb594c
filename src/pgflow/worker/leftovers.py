"""What handlers leave behind must not keep the process: tasks deaf to their cancellation, threads that never end."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

logger = logging.getLogger("pgflow.worker")

#: Seconds that what is left gets to end.
_LAST = 0.5

#: Taken by whoever ends the process, and not given back: the event loop and its watch may both want to, at once.
_leaving = threading.Lock()


class UnwaitedThreads(ThreadPoolExecutor):
    """For `asyncio.to_thread`: closing the loop would wait for all that is under way in it, for ever."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


async def end_tasks() -> None:
    """Cancels the tasks that handlers started and forgot; those that go on are given up, and not waited for."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if not left:
        return
    for task in left:
        task.cancel()
    _, stubborn = await asyncio.wait(left, timeout=_LAST)
    for task in stubborn:
        logger.warning("a task that a handler left behind ignores its cancellation: %r", task)
        asyncio.tasks._unregister_task(task)


def exit_past_threads(status: int) -> int:
    """The exit status; ends the process itself where threads that handlers started would keep it from ending."""
    deadline = time.monotonic() + _LAST
    threads = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    left = [thread.name for thread in threads if thread.is_alive()]
    if left:
        leave(status, "exiting in spite of threads that handlers left behind: %s", ", ".join(left))
    return status


def leave(status: int, why: str, *arguments: object) -> NoReturn:
    """Ends the process, whatever goes on in it; says why, and flushes what was logged and printed before."""

    def last_words() -> None:
        logger.error(why, *arguments)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()

    with _leaving:
        aside(last_words).join(_LAST)
        os._exit(status)


def aside(speak: Callable[..., None], *arguments: object) -> threading.Thread:
    """Speaks in a thread: who holds the lock of a stream may be waiting for its reader, for ever."""
    thread = threading.Thread(target=speak, args=arguments, name="pgflow-aside", daemon=True)
    thread.start()
    return thread
