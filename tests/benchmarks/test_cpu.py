"""The CPU time of a server whose processes come and go."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cluster import cpu_seconds


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_cpu_time_never_goes_back_while_children_end() -> None:
    """One that ended while it was looked at once made the whole count 0, and costs per task negative."""
    with subprocess.Popen(["/bin/sh", "-c", "while :; do (:) & (:) & wait; done"]) as shell:
        try:
            seen = [0.0]
            end = time.monotonic() + 1
            while time.monotonic() < end:
                seen.append(cpu_seconds(shell.pid))
        finally:
            shell.kill()
    assert seen[-1] > 0
    assert seen == sorted(seen)
