"""Clocks that can be shifted while a program runs, by libfaketime (Debian: faketime)."""

from __future__ import annotations

from pathlib import Path

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/*/faketime/libfaketime.so.1")


class Clock:
    """The wall clock of the processes that get `environment`; what measures durations goes on as it was."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.shift(0)
        file.chmod(0o644)

    def shift(self, seconds: float) -> None:
        """From about now on the clock is wrong by so much."""
        self._file.write_text(f"{seconds:+g}\n")


def library() -> Path | None:
    """libfaketime, where it is installed."""
    found = [path for pattern in _LIBRARIES for path in Path("/").glob(pattern[1:])]
    return found[0] if found else None
