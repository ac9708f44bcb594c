"""What commands write: text and tables for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

_COLOURS = {
    "completed": "green",
    "started": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
}


def console() -> Console:
    """Standard output; wide enough for whole ids where it is no terminal."""
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)


def command() -> str:
    """How this command was called, so that what we suggest can be pasted."""
    called = sys.argv[0]
    if Path(called).name != "pgflow" or shutil.which("pgflow") == called:
        return "pgflow"
    return called


def print_json(value: Any) -> None:
    """A value as indented JSON; times in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=plain) + "\n")


def plain(value: Any) -> str:
    """What JSON has no form for, as text."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def status(name: str) -> Text:
    """A status in its colour."""
    return Text(name, style=_COLOURS.get(name, "dim"))


def moment(when: datetime | None) -> str:
    """A time in the local time zone, to the second."""
    return "" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(span: timedelta) -> str:
    """`0.41 s`, `12.3 s`, `4 min 05 s`, `3 h 20 min`."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def many(count: int, noun: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def shortened(text: str, length: int) -> str:
    """The first line of a text, of at most `length` characters."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= length else line[: length - 1] + "…"
