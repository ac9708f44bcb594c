"""`pgflow worker` processes, started again when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.support import eventually


class Workers:
    """So many worker processes; each slot has its own log, and may have its own environment."""

    def __init__(self, folder: Path, count: int, environment: dict[str, str], lease: int) -> None:
        self._folder = folder
        self._environments = [dict(environment) for _ in range(count)]
        self._lease = lease
        self._running: list[subprocess.Popen[bytes]] = []
        #: How they ended, before they were told to.
        self.exits: Counter[int] = Counter()

    def bend_clock_of(self, slot: int, environment: dict[str, str]) -> None:
        self._environments[slot] |= environment

    def start(self) -> None:
        self._running = [self._start(slot) for slot in range(len(self._environments))]

    def _start(self, slot: int) -> subprocess.Popen[bytes]:
        with (self._folder / f"worker-{slot}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable, "-m", "pgflow", "worker", "--concurrency=10", "--grace=2",
                    f"--lease={self._lease}", "tests.faults.chaos.flows",
                ],
                env=os.environ | self._environments[slot],
                cwd=Path(__file__).parents[3],
                stdout=log,
                stderr=log,
            )  # fmt: skip

    def replace_dead(self) -> None:
        for slot, process in enumerate(self._running):
            if (status := process.poll()) is not None:
                self.exits[status] += 1
                self._running[slot] = self._start(slot)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._running if process.poll() is None]

    def stop(self) -> None:
        """By SIGTERM; every one of them must end by itself."""
        for process in self._running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            eventually(lambda: all(process.poll() is not None for process in self._running), within=60)
        finally:
            self.kill()

    def kill(self) -> None:
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
