"""Watches the event loop from a thread: whatever blocks it takes signals, deadlines and results along."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from pgflow.worker.ending import LAST, Ending
from pgflow.worker.held import Held, Holding
from pgflow.worker.leftovers import aside, leave
from pgflow.worker.supervisor import INTERRUPTED, WORN_OUT

logger = logging.getLogger("pgflow.worker")

#: Seconds between two questions whether the loop is there.
_TICK = 1.0
#: Seconds without an answer that are worth a word.
_NOTICEABLE = 5.0
#: Seconds for which a loop may be blocked by who knows what, though all that the worker holds is overdue: as long as a
#: step's timeout by default.
_LONGEST = 60.0
#: Of a stack, the innermost so many frames are said.
_FRAMES = 12
#: A lease ends so many seconds after its task's timeout (engine.md, 2): from then on the task is another worker's.
_OVERTIME = 2.0


class Watch:
    """Says which handler blocks the loop. Where the process is the worker's own (`owned`), it also ends it:

    - with WORN_OUT when the handler that blocks the loop is past its timeout, or nothing that is held can be in time
      any more: nobody but who replaces the process could do anything about it;
    - with `status()` at the deadline of `ending`, which it begins at a signal, or when the parent lets go of
      `lifeline`, whether or not the loop hears of that;
    - at once at a second signal.
    """

    def __init__(
        self, held: Held, ending: Ending, status: Callable[[], int], *, owned: bool, lifeline: int | None = None
    ) -> None:
        self._held = held
        self._ending = ending
        self._status = status
        self._owned = owned
        self._lifeline = lifeline
        self._forward: int | None = None
        self._signals = 0
        self._stopped = False
        self._answered = True
        self._blocked = 0.0
        self._has_said = False

    def start(self) -> None:
        """On the loop that it shall watch, in the thread of that loop."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)
        self._heard = selectors.DefaultSelector()
        self._heard.register(self._ear, selectors.EVENT_READ)
        if self._lifeline is not None:
            self._heard.register(self._lifeline, selectors.EVENT_READ)
        if self._owned:
            self._overhear_signals()
        self._thread = threading.Thread(target=self._watch, name="pgflow-watch", daemon=True)
        self._thread.start()

    def _overhear_signals(self) -> None:
        """Python tells the loop of a signal by a byte. That goes through us: a blocked loop would not read it."""
        before = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        self._forward = os.dup(before) if before != -1 else None

    def stop(self) -> None:
        """In the thread of the loop, which may be closed by now."""
        self._stopped = True
        with suppress(OSError):
            self._mouth.send(b"\0")
        self._thread.join()
        if self._owned:
            self._stop_overhearing()
        for closing in (self._heard, self._ear, self._mouth):
            closing.close()

    def _stop_overhearing(self) -> None:
        ours = self._mouth.fileno()
        if (present := signal.set_wakeup_fd(-1)) not in (ours, -1):
            signal.set_wakeup_fd(present)  # somebody else's
        if self._forward is not None:
            os.close(self._forward)

    # -- in the thread

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._stopped:
            left = self._ending.left() if self._owned else None
            for key, _ in self._heard.select(_TICK if left is None else min(left, _TICK)):
                self._hear(key.fd)
            if left == 0:
                leave(self._status(), "the grace period and %g s are over: exiting in spite of what goes on", LAST)
            if (now := time.monotonic()) >= looked + _TICK:
                looked = now
                self._look()

    def _hear(self, descriptor: int) -> None:
        if descriptor == self._lifeline:
            self._heard.unregister(descriptor)
            self._ending.begin()
            return
        heard = self._ear.recv(4096).replace(b"\0", b"")
        if self._forward is not None and heard:
            with suppress(OSError):  # it is full: then the loop has enough to read
                os.write(self._forward, heard)
        for number in heard:
            if number in (signal.SIGINT, signal.SIGTERM):
                self._ending.begin()
                self._signals += 1
        if self._signals > 1:
            exit_at_once()

    def _look(self) -> None:
        """Asks the loop for a sign of life. Its silence is counted by looks, not by the clock: a process that was
        frozen for an hour has not been blocked for so long."""
        if self._answered:
            self._blocked, self._has_said, self._answered = 0.0, False, False
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._answer)
            return
        self._blocked += _TICK
        if self._blocked >= _NOTICEABLE and not self._loop.is_closed():
            self._judge(self._culprit())

    def _answer(self) -> None:
        self._answered = True

    def _culprit(self) -> Holding | None:
        """The task whose handler, or whose values, the loop is busy with."""
        current = asyncio.current_task(self._loop)
        return next((h for h in self._held if current is not None and current in (h.job, h.handler)), None)

    def _judge(self, culprit: Holding | None) -> None:
        who = "something" if culprit is None else f"the handler of {culprit.task}"
        if not self._has_said:
            self._has_said = True
            aside(logger.error, "%s blocks the event loop: all else waits\n%s", who, self._stack())
        if self._owned and self._is_lost(culprit):
            leave(
                WORN_OUT,
                "%s has blocked the event loop for %g s: exiting, start me anew\n%s", who, self._blocked, self._stack(),
            )  # fmt: skip

    def _is_lost(self, culprit: Holding | None) -> bool:
        if culprit is not None:
            return culprit.age > culprit.task.timeout + _OVERTIME
        longest = max((h.task.timeout for h in self._held), default=0)
        return self._blocked > max(longest + _OVERTIME, _LONGEST)

    def _stack(self) -> str:
        return "".join(traceback.format_stack(sys._current_frames().get(self._watched), _FRAMES))


def exit_at_once() -> None:
    """What a second signal means."""
    leave(INTERRUPTED, "second signal, exiting at once")
